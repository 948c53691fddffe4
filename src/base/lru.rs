//! A small cache that drops what was used longest ago.
//!
//! Sized for hundreds of entries of very different weight: making room scans all of them, which
//! costs less than the system calls that fill an entry.

use std::borrow::Borrow;
use std::hash::Hash;

use foldhash::HashMap;

struct Slot<V> {
    value: V,
    weight: usize,
    used: u64,
}

/// At most `capacity` in the sum of weights.
pub(super) struct Lru<K, V> {
    slots: HashMap<K, Slot<V>>,
    capacity: usize,
    weight: usize,
    clock: u64,
}

impl<K: Hash + Eq + Clone, V> Lru<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Lru {
            slots: HashMap::default(),
            capacity,
            weight: 0,
            clock: 0,
        }
    }

    pub(super) fn get<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.clock += 1;
        let slot = self.slots.get_mut(key)?;
        slot.used = self.clock;
        Some(&slot.value)
    }

    /// How many entries there are, and what they weigh.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.slots.len(), self.weight)
    }

    /// Adds or replaces an entry. One that is heavier than the whole cache is not taken.
    pub(super) fn insert(&mut self, key: K, value: V, weight: usize) {
        self.remove(&key);
        if weight > self.capacity {
            return;
        }
        while self.weight + weight > self.capacity {
            let oldest = self.slots.iter().min_by_key(|(_, slot)| slot.used);
            let key = oldest
                .map(|(key, _)| key.clone())
                .expect("weight comes from entries");
            self.remove(&key);
        }
        self.clock += 1;
        self.weight += weight;
        self.slots.insert(
            key,
            Slot {
                value,
                weight,
                used: self.clock,
            },
        );
    }

    pub(super) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        if let Some(slot) = self.slots.remove(key) {
            self.weight -= slot.weight;
        }
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.slots.retain(|key, slot| keep(key, &slot.value));
        self.weight = self.slots.values().map(|slot| slot.weight).sum();
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.weight = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lru: &mut Lru<i32, i32>, keys: &[i32], expect: &[Option<i32>]) {
        let got: Vec<Option<i32>> = keys.iter().map(|key| lru.get(key).copied()).collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn the_least_recently_used_entry_goes_first() {
        let mut lru = Lru::new(3);
        for key in [1, 2, 3] {
            lru.insert(key, key * 10, 1);
        }
        check(&mut lru, &[1], &[Some(10)]);
        lru.insert(4, 40, 1);
        check(&mut lru, &[2, 1, 4], &[None, Some(10), Some(40)]);
        lru.insert(5, 50, 3);
        check(&mut lru, &[1, 5], &[None, Some(50)]);
        lru.insert(6, 60, 4);
        check(&mut lru, &[6, 5], &[None, Some(50)]);
    }
}
