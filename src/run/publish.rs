//! `--publish`: connections to an address outside are relayed to a port of the run's loopback interface. The supervisor
//! listens outside from before it left the host's network, and connects inside, where it is since.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::launch::LaunchError;
use super::options::{Net, Options};

/// How many connections are relayed at a time; more wait to be accepted.
const CONNECTIONS: usize = 512;
/// What is on its way in one direction, at most.
const BUFFER: usize = 16 << 10;
/// How long an accept that failed for want of descriptors is left alone.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a server inside may take to let somebody in.
const PATIENCE: Duration = Duration::from_secs(1);

/// The addresses of a run, listened to.
#[derive(Debug, Default)]
pub struct Published {
    doors: Vec<Door>,
}

#[derive(Debug)]
struct Door {
    listener: TcpListener,
    port: u16,
}

/// One direction of a connection.
#[derive(Debug)]
struct Flow {
    bytes: Vec<u8>,
    sent: usize,
    ended: bool,
    told: bool,
}

#[derive(Debug)]
struct Connection {
    sides: [TcpStream; 2],
    /// From the side of the same number to the other.
    flows: [Flow; 2],
    broken: bool,
}

impl Published {
    /// Listens, in the network that the caller is in.
    ///
    /// # Errors
    /// Where an address cannot be had.
    pub fn listen(options: &Options) -> Result<Self, LaunchError> {
        let mut doors = Vec::new();
        for publish in &options.publish {
            let what = || format!("--publish {}:{}", publish.host, publish.cage);
            if options.net == Net::Host {
                return Err(LaunchError::new(what(), ErrorKind::InvalidInput.into())
                    .mend("the run has the host's network: its ports are reached as they are"));
            }
            let listener = TcpListener::bind(publish.host)
                .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
                .map_err(|error| {
                    LaunchError::new(what(), error)
                        .mend("name an address of this machine and a port that is free")
                })?;
            doors.push(Door {
                listener,
                port: publish.cage,
            });
        }
        Ok(Self { doors })
    }

    /// The addresses, each with the port inside that it leads to.
    pub fn addresses(&self) -> impl Iterator<Item = (SocketAddr, u16)> + '_ {
        self.doors
            .iter()
            .filter_map(|door| Some((door.listener.local_addr().ok()?, door.port)))
    }

    /// Relays in a thread of its own, for as long as the process lives.
    ///
    /// # Errors
    /// Where no thread can be made.
    pub fn start(self) -> io::Result<()> {
        if self.doors.is_empty() {
            return Ok(());
        }
        std::thread::Builder::new()
            .name("publish".to_owned())
            .spawn(move || self.relay())
            .map(drop)
    }

    fn relay(self) {
        let mut connections: Vec<Connection> = Vec::new();
        let mut resting = false;
        loop {
            let ready = self.wait(&connections, resting);
            resting = false;
            for (door, ready) in self.doors.iter().zip(&ready) {
                if *ready && connections.len() < CONNECTIONS {
                    match door.admit() {
                        Ok(connection) => connections.extend(connection),
                        Err(_) => resting = true,
                    }
                }
            }
            connections.iter_mut().for_each(Connection::pump);
            connections.retain(|connection| !connection.is_over());
        }
    }

    /// Waits until something can be done; says which doors somebody stands at.
    fn wait(&self, connections: &[Connection], resting: bool) -> Vec<bool> {
        let full = connections.len() >= CONNECTIONS || resting;
        let at_door = if full {
            PollFlags::empty()
        } else {
            PollFlags::POLLIN
        };
        let mut fds: Vec<PollFd<'_>> = self
            .doors
            .iter()
            .map(|door| PollFd::new(door.listener.as_fd(), at_door))
            .collect();
        for connection in connections {
            fds.extend(connection.wants());
        }
        let patience = if resting {
            PollTimeout::try_from(PAUSE).unwrap_or(PollTimeout::NONE)
        } else {
            PollTimeout::NONE
        };
        let _ = poll(&mut fds, patience);
        fds.iter()
            .take(self.doors.len())
            .map(|fd| fd.any().unwrap_or(false))
            .collect()
    }
}

impl Door {
    /// Takes one who waits; where nobody listens inside, that one is turned away.
    fn admit(&self) -> io::Result<Option<Connection>> {
        let outside = match self.listener.accept() {
            Ok((outside, _)) => outside,
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::ConnectionAborted | ErrorKind::Interrupted
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // The loopback interface answers at once, unless too many wait there already.
        let to = |address: IpAddr| {
            TcpStream::connect_timeout(&SocketAddr::new(address, self.port), PATIENCE)
        };
        let inside = to(Ipv4Addr::LOCALHOST.into()).or_else(|_| to(Ipv6Addr::LOCALHOST.into()));
        let Ok(inside) = inside else {
            return Ok(None);
        };
        for side in [&outside, &inside] {
            side.set_nonblocking(true)?;
            let _ = side.set_nodelay(true);
        }
        let flow = || Flow {
            bytes: Vec::new(),
            sent: 0,
            ended: false,
            told: false,
        };
        Ok(Some(Connection {
            sides: [outside, inside],
            flows: [flow(), flow()],
            broken: false,
        }))
    }
}

impl Connection {
    /// What each side is waited for.
    fn wants(&self) -> [PollFd<'_>; 2] {
        let [out, back] = &self.flows;
        let [outside, inside] = &self.sides;
        let events = |read: &Flow, write: &Flow| {
            let mut events = PollFlags::empty();
            events.set(PollFlags::POLLIN, read.is_empty() && !read.ended);
            events.set(PollFlags::POLLOUT, !write.is_empty());
            events
        };
        [
            PollFd::new(outside.as_fd(), events(out, back)),
            PollFd::new(inside.as_fd(), events(back, out)),
        ]
    }

    fn pump(&mut self) {
        let [outside, inside] = &self.sides;
        let [out, back] = &mut self.flows;
        let moved = out
            .pump(outside, inside)
            .and_then(|()| back.pump(inside, outside));
        self.broken |= moved.is_err();
    }

    fn is_over(&self) -> bool {
        self.broken || self.flows.iter().all(|flow| flow.told)
    }
}

impl Flow {
    fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Moves what can be moved without waiting.
    fn pump(&mut self, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
        loop {
            if self.is_empty() && !self.ended {
                self.bytes.resize(BUFFER, 0);
                self.sent = 0;
                let got = wait_free(from.read(&mut self.bytes));
                self.bytes
                    .truncate(got.as_ref().map_or(0, |got| got.unwrap_or(0)));
                match got? {
                    None => return Ok(()),
                    Some(0) => self.ended = true,
                    Some(_) => {}
                }
            }
            if self.is_empty() {
                if !self.told {
                    self.told = true;
                    let _ = to.shutdown(Shutdown::Write);
                }
                return Ok(());
            }
            match wait_free(to.write(self.bytes.get(self.sent..).unwrap_or_default()))? {
                None => return Ok(()),
                Some(count) => self.sent += count,
            }
        }
    }
}

/// `None` where it would have to wait.
fn wait_free(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
