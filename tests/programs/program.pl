# Perl: processes, pipes, descriptors, locks, sockets, signals, directories.
use strict; use warnings; use Fcntl qw(:flock :seek O_RDWR O_CREAT O_EXCL); use Socket; use IO::Select; use IO::Socket::INET; use IPC::Open3; use File::Temp; use POSIX qw(:sys_wait_h dup2 WNOHANG); use Errno qw(ENOENT EAGAIN EEXIST); use Time::HiRes qw(usleep);
$| = 1;
pipe(my $r, my $w) or die; my $pid = fork // die;
if (!$pid) { close $r; print $w "from $_\n" for 1 .. 3; close $w; exit 6 }
close $w; print "child says $_" while <$r>; waitpid $pid, 0; print "status ", $? >> 8, "\n";
print "backticks ", `echo one; exit 3`, $? >> 8, "\n"; print "system ", system('exit 5') >> 8, "\n";
open my $p, '-|', 'sort', '-r' or die if 0; open $p, '|-', 'tr a-z A-Z' or die; print $p "to a pipe\n"; close $p;
my $o = open3(my $in, my $out, undef, 'cat'); print $in "three ways\n"; close $in; print <$out>; waitpid $o, 0;
sysopen my $f, 'file', O_RDWR | O_CREAT, 0640 or die; syswrite $f, "0123456789" x 100; sysseek $f, 505, SEEK_SET; sysread $f, my $b, 5; print "$b ", -s $f, " ", sprintf('%o', (stat $f)[2] & 0777), "\n"; truncate $f, 10; print -s 'file', "\n";
sysopen my $g, 'file', O_RDWR | O_CREAT | O_EXCL or print "exclusive: ", $! == EEXIST ? "exists" : "$!", "\n"; open my $n, '<', 'no/such' or print "missing: ", $! == ENOENT ? "ENOENT" : "$!", "\n";
open my $l1, '<', 'file'; open my $l2, '<', 'file'; flock $l1, LOCK_EX; print "locked: ", flock($l2, LOCK_EX | LOCK_NB) ? "twice" : "once", "\n"; flock $l1, LOCK_UN; print flock($l2, LOCK_SH) ? "free\n" : "stuck\n";
socketpair my $a, my $c, AF_UNIX, SOCK_STREAM, PF_UNSPEC or die; syswrite $a, "pair"; sysread $c, $b, 9; print "$b\n"; shutdown $a, 1; print "eof ", sysread($c, $b, 9), "\n";
my $s = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', Proto => 'tcp') or die "listen $!";
if (!($pid = fork)) { my $k = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $s->sockport) or exit 1; print $k "over tcp\n"; my $line = <$k>; exit($line eq "OVER TCP\n" ? 0 : 2) }
my $k = $s->accept; my $line = <$k>; print "accepted $line"; print $k uc $line; close $k; waitpid $pid, 0; print "client $?\n";
my $sel = IO::Select->new($c, $s); print "ready ", scalar($sel->can_read(0)), "\n";
my $alarms = 0; local $SIG{ALRM} = sub { $alarms++ }; alarm 1; select undef, undef, undef, 5; print "alarms $alarms\n"; Time::HiRes::ualarm(20000); my $slept = usleep(2_000_000); print "interrupted ", $slept < 1_500_000 ? 1 : 0, " $alarms\n";
local $SIG{CHLD} = sub { 1 while waitpid(-1, WNOHANG) > 0; }; local $SIG{USR1} = sub { print "USR1\n" }; kill USR1 => $$; local $SIG{PIPE} = 'IGNORE'; pipe $r, $w; close $r; print "broken: ", defined syswrite($w, 'x') ? 'no' : 'EPIPE', "\n";
mkdir 'dir'; mkdir "dir/$_" for 1 .. 3; rmdir 'dir/2'; opendir my $d, 'dir'; print join(' ', sort grep !/^\./, readdir $d), "\n"; rename 'file', 'dir/moved'; symlink 'moved', 'dir/l'; print readlink('dir/l'), " ", -l 'dir/l' ? 1 : 0, " ", -e 'file' ? 1 : 0, "\n"; utime 1e9, 1e9, 'dir/moved'; print +(stat 'dir/l')[9], "\n"; chmod 0400, 'dir/moved'; link 'dir/moved', 'hard'; print +(stat 'hard')[3], "\n"; unlink 'hard', 'dir/l'; chdir 'dir' or die; print -e 'moved' ? "in dir\n" : "lost\n";
open my $save, '>&', \*STDOUT; open STDOUT, '>', 'redirected'; print "to the file\n"; system 'echo from a child'; open STDOUT, '>&', $save; open my $red, '<', 'redirected'; print sort <$red>; print "done\n"; exec 'echo', 'exec', 'at the end';
