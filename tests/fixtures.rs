//! Every program of fixtures/ natively and caged: with the default mediation, with `--mediate=all`, on each of the other
//! platforms; as root, all of it again as an ordinary user. What Linux prints is what a cage must print.

#[expect(dead_code, reason = "every test file uses another part of the harness")]
mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use harness::case::Case;
use harness::fixture::build;
use harness::scratch::Installed;
use harness::{program, skip};

fn check(name: &str) {
    if program("gcc").is_none() {
        return skip(name, "gcc");
    }
    let installed = Installed::get();
    let fixture = installed.add(&build(name));
    Case::new(&[&fixture.to_string_lossy()])
        .also(&["--mediate=all"])
        .on_each_platform()
        .limit(60)
        .check(name);
}

/// One `#[test]` per fixture, and the list of them.
macro_rules! fixtures {
    ($($name:ident)+) => {
        const LISTED: &[&str] = &[$(stringify!($name)),+];
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )+
    };
}

fixtures! {
    access_at access_dirs access_family bad_pointers close_range_flags cwd dev_files dir_list dir_seek ev_dup_close
    ev_edge ev_epoll ev_epoll_share ev_exclusive ev_masks ev_nest ev_pidfd ev_poll ev_select ev_semaphore ev_threads
    ev_timerfd exec_keeps exec_limits fallocate_modes fast_blocked fast_code fast_data fast_fork fast_gs fast_late
    fast_mailbox fast_maps fast_numbers fast_pointers fast_registers fast_signals fast_step fast_stops fast_threads fast_waits
    fcntl_lease fcntl_rest fcntl_sigio fd_cloexec_exec fd_close_range fd_dup fd_events fd_inotify fd_many fd_memfd fd_nofile fd_offsets
    fd_reopen_modes fifo_open fifo_poll file_large futex_calls id_change inotify_moves io_append io_copy io_rwf
    io_vectors ioctl_list ipc_msg ipc_names ipc_sem ipc_shm limit_core limit_cpu limit_fsize limit_memory
    limit_rules link_rename link_rules lock_deadlock lock_flock lock_ofd lock_posix mem_anon mem_barrier mem_lock
    mem_protect mem_remap memfd_seals meta_times mkdir_mknod mknod_kinds mmap_files mmap_sharing mq_messages
    mq_waits old_calls open_flags open_path open_special open_tmpfile path_flip path_limits path_modes path_openat2
    path_removed path_walk pidfd_family pipe_packets pipe_rules proc_clone proc_clone3 proc_clone_flags
    proc_clone_pidfd proc_clone_tid proc_dumpable proc_dying_pipe proc_exec_args proc_exec_fd proc_exec_script
    proc_exec_thread proc_exec_unreadable proc_fd_reopen proc_files proc_foreign_abi proc_fork proc_limits
    proc_machine proc_names proc_orphan proc_own_memory proc_prctl proc_refused proc_self_view proc_sessions
    proc_status proc_subreaper proc_threads_end proc_vfork proc_vfork_rules proc_wait proc_waitid rename_flags
    sched_policies sched_priorities sig_children sig_connect sig_fault sig_fd sig_fd_own sig_handlers sig_kill
    sig_mask sig_pipe sig_realtime sig_restart sig_stop sig_storm sig_timers sig_unnoticed sig_wait
    sock_accept_threads sock_backlog sock_families sock_inet6 sock_mmsg sock_msg sock_nonblock sock_oob sock_options
    sock_pair sock_peek sock_peer_end sock_peercred sock_rights_many sock_route sock_scm_cred sock_scm_rights
    sock_seqpacket sock_shutdown sock_stream_big sock_tcp sock_tcp_errors sock_timeo sock_udp sock_udp_errors
    sock_unix_abstract sock_unix_dgram sock_unix_path splice_files splice_memory stat_family statfs_kinds
    statx_masks stdio_closed sync_family sys_misc thread_create thread_exit thread_fd_reuse thread_fd_storm
    thread_files_split thread_fs thread_robust thread_signals thread_sync time_nanosleep time_sleep times_special
    truncate_alloc tty_jobs tty_openpty tty_pty tty_session usage_times world_namespaces world_pids world_proc_sys
    world_refused_files world_root world_sys_dev xattr_errors xattr_user
}

/// A fixture that nobody listed would never run.
#[test]
fn every_fixture_is_listed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|e| panic!("read {}: {e}", folder.display()));
    let present: BTreeSet<String> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(".c").map(str::to_owned)
        })
        .collect();
    let listed: BTreeSet<String> = LISTED.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(
        listed, present,
        "the list in tests/fixtures.rs and the files of fixtures/"
    );
}
