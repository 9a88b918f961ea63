//! Who made which pair of sockets, for the ends that travel in messages: an open file that is received is a new one here.
//! Bounded: of very many pairs the oldest are forgotten.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

use super::Peer;

/// How many ends are remembered.
const MOST: usize = 8192;

#[derive(Debug, Default)]
struct Inner {
    by_inode: HashMap<u64, Peer>,
    order: VecDeque<u64>,
}

/// Makers of pairs, by the inode of an end.
#[derive(Debug, Default)]
pub struct Pairs(Mutex<Inner>);

impl Pairs {
    /// Notes an end.
    pub fn note(&self, inode: u64, maker: Peer) {
        let mut inner = self.0.lock();
        if inner.by_inode.insert(inode, maker).is_some() {
            return;
        }
        inner.order.push_back(inode);
        if inner.order.len() > MOST
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.by_inode.remove(&oldest);
        }
    }

    /// The maker of the pair that this is an end of.
    #[must_use]
    pub fn maker(&self, inode: u64) -> Option<Peer> {
        self.0.lock().by_inode.get(&inode).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_first() {
        let pairs = Pairs::default();
        let maker = |pid| Peer {
            pid,
            uid: 0,
            gid: 0,
        };
        for inode in 0..=MOST as u64 {
            pairs.note(inode, maker(1));
            pairs.note(inode, maker(2));
        }
        assert_eq!(pairs.maker(0), None);
        assert_eq!(pairs.maker(1), Some(maker(2)));
        assert_eq!(pairs.maker(MOST as u64), Some(maker(2)));
        assert_eq!(pairs.0.lock().order.len(), MOST);
    }
}
