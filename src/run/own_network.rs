//! The network of the run's own: made by a thread beside the building of the world, since the kernel takes longer for it than
//! for all other namespaces together.

use std::os::fd::{AsFd, OwnedFd};
use std::thread::{Builder, JoinHandle};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::id_maps::write_proc;
use super::launch::{LaunchError, RESTRICTED, no_namespaces};
use crate::sys::namespace;

/// More than what the thread below needs.
const STACK: usize = 128 * 1024;

/// A network in the making.
#[derive(Debug)]
pub(super) struct OwnNetwork {
    maker: Option<JoinHandle<Result<OwnedFd, LaunchError>>>,
}

impl OwnNetwork {
    /// None: the run stays in the network of its caller.
    pub(super) fn none() -> Self {
        Self { maker: None }
    }

    /// Begins to make it; the caller is in the run's user namespace. With `low_ports` anybody may bind the ports below 1024.
    pub(super) fn begin(host_proc: &OwnedFd, low_ports: bool) -> Result<Self, LaunchError> {
        let no_thread = |error| LaunchError::new("cannot start a thread", error);
        let host_proc = host_proc.try_clone().map_err(no_thread)?;
        let maker = Builder::new()
            .name("network".to_owned())
            .stack_size(STACK)
            .spawn(move || make(&host_proc, low_ports))
            .map_err(no_thread)?;
        Ok(Self { maker: Some(maker) })
    }

    /// Waits until it is there, and enters it; the caller is alone in its process again.
    pub(super) fn enter(&mut self) -> Result<(), LaunchError> {
        let Some(maker) = self.maker.take() else {
            return Ok(());
        };
        let made = maker
            .join()
            .map_err(|_| LaunchError::said("the thread that makes the run's network panicked"))?;
        namespace::enter_network(made?.as_fd())
            .map_err(|error| LaunchError::new("cannot enter the run's own network", error))
    }
}

fn make(host_proc: &OwnedFd, low_ports: bool) -> Result<OwnedFd, LaunchError> {
    namespace::leave_network().map_err(no_namespaces)?;
    namespace::loopback_up().map_err(|error| {
        LaunchError::new("cannot bring up the loopback interface of the run", error)
            .mend(RESTRICTED)
    })?;
    if low_ports {
        // The server that is meant has no capability; the ports are those of its own network.
        let switch = "sys/net/ipv4/ip_unprivileged_port_start";
        write_proc(host_proc.as_fd(), switch, "0")?;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    openat(host_proc, "thread-self/ns/net", flags, Mode::empty())
        .map_err(|error| LaunchError::new("cannot open the run's own network", error.into()))
}
