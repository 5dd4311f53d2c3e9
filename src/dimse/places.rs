//! How many associations and connections there may be at a time.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::pdu::Rejection;

/// Which associations run, in all and by address.
#[derive(Debug)]
pub(super) struct Slots {
    /// At a time.
    most: usize,
    /// Of those, from one address.
    per_address: usize,
    used: Arc<Mutex<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One association's slot; free again when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    address: IpAddr,
    used: Arc<Mutex<Used>>,
}

impl Slots {
    pub(super) fn new(most: usize, per_address: usize) -> Self {
        Self { most, per_address, used: Arc::default() }
    }

    /// A slot, or the rejection that says which limit is reached.
    pub(super) fn take(&self, address: IpAddr) -> Result<Slot, Rejection> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = used.by_address.get(&address).copied().unwrap_or(0);
        if used.all >= self.most {
            return Err(Rejection::CONGESTION);
        }
        if of_address >= self.per_address {
            return Err(Rejection::LIMIT);
        }
        used.all += 1;
        used.by_address.insert(address, of_address + 1);
        Ok(Slot { address, used: Arc::clone(&self.used) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.all = used.all.saturating_sub(1);
        match used.by_address.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(used.by_address.remove(&self.address)),
        }
    }
}

/// Connections without an association: those that have not asked for one, and those whose end is
/// awaited. They hold no slot; when there are too many, the oldest gives way, so that a flood of
/// silent ones keeps no real peer out.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    most: usize,
    queue: Arc<Mutex<VecDeque<(u64, CancellationToken)>>>,
}

/// One connection's place among the waiting; it leaves them when dropped.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    evict: CancellationToken,
    waiting: Waiting,
}

impl Waiting {
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), queue: Arc::default() }
    }

    pub(super) fn place(&self, id: u64, evict: CancellationToken) -> Place {
        Place { id, evict, waiting: self.clone() }
    }
}

impl Place {
    /// The connection waits; the oldest that did may have to go.
    pub(super) fn enter(&self) {
        let mut queue = self.waiting.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.iter().any(|(id, _)| *id == self.id) {
            return;
        }
        while queue.len() >= self.waiting.most {
            if let Some((_, oldest)) = queue.pop_front() {
                oldest.cancel();
            }
        }
        queue.push_back((self.id, self.evict.clone()));
    }

    /// The connection has an association.
    pub(super) fn seat(self: &Arc<Self>, slot: Slot) -> Seat {
        self.leave();
        Seat { place: Arc::clone(self), _slot: slot }
    }

    fn leave(&self) {
        let mut queue = self.waiting.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.retain(|(id, _)| *id != self.id);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

/// What a connection has while it has an association: its slot, and no place among the waiting.
#[derive(Debug)]
pub(super) struct Seat {
    place: Arc<Place>,
    _slot: Slot,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.place.enter();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_count_in_all_and_by_address_and_come_back() {
        let slots = Slots::new(3, 2);
        let [a, b]: [IpAddr; 2] = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let first = slots.take(a).unwrap();
        let _second = slots.take(a).unwrap();
        assert_eq!(slots.take(a).unwrap_err(), Rejection::LIMIT);
        let _third = slots.take(b).unwrap();
        assert_eq!(slots.take(b).unwrap_err(), Rejection::CONGESTION);
        drop(first);
        assert!(slots.take(a).is_ok());
    }

    #[test]
    fn the_oldest_waiting_connection_gives_way() {
        let waiting = Waiting::new(2);
        let places: Vec<_> = (0..4).map(|id| waiting.place(id, CancellationToken::new())).collect();
        let evicted = || places.iter().map(|place| place.evict.is_cancelled()).collect::<Vec<_>>();
        places[0].enter();
        places[1].enter();
        places[0].enter();
        places[1].leave();
        places[2].enter();
        assert_eq!(evicted(), [false; 4]);
        places[3].enter();
        assert_eq!(evicted(), [true, false, false, false]);
        drop(places);
        assert!(waiting.queue.lock().unwrap().is_empty());
    }
}
