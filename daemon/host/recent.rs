//! A bounded map that forgets what was not used lately.

use std::borrow::Borrow;
use std::hash::Hash;

use hashbrown::HashMap;

/// Keeps at least the `capacity` most recently used entries and at most twice as many.
///
/// Two generations: when the young one is full it becomes the old one, and what was old and not used
/// since is forgotten. Constant time, no list to maintain.
#[derive(Debug)]
pub struct RecentMap<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    capacity: usize,
}

impl<K: Eq + Hash, V> RecentMap<K, V> {
    /// An empty map.
    pub fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), capacity: capacity.max(1) }
    }

    /// Looks up without counting as a use.
    pub fn peek<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Looks up for use.
    pub fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        if let Some((key, value)) = self.old.remove_entry(key) {
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    /// Looks up for use; makes the entry if it is not there.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let value = self.old.remove(&key);
        if self.young.len() >= self.capacity && !self.young.contains_key(&key) {
            self.age();
        }
        self.young.entry(key).or_insert_with(|| value.unwrap_or_else(make))
    }

    /// Sets an entry.
    pub fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.capacity && !self.young.contains_key(&key) {
            self.age();
        }
        self.young.insert(key, value);
    }

    /// Forgets an entry.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let old = self.old.remove(key);
        self.young.remove(key).or(old)
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.young.iter().chain(&self.old)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn age(&mut self) {
        self.old = std::mem::take(&mut self.young);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let mut map = RecentMap::new(10);
        map.insert(0, "used");
        for key in 1..1000 {
            map.insert(key, "filler");
            assert!(map.len() <= 20);
            assert_eq!(map.get(&0), Some(&mut "used"), "at {key}");
        }
        assert_eq!(map.peek(&1), None);
        assert_eq!(map.peek(&999), Some(&"filler"));
    }

    #[test]
    fn an_entry_lives_in_one_generation() {
        let mut map = RecentMap::new(2);
        for key in [1, 2, 3, 1, 2, 3] {
            *map.get_or_insert_with(key, || 0) += 1;
        }
        assert_eq!((map.peek(&1), map.peek(&2), map.peek(&3)), (Some(&2), Some(&2), Some(&2)));
        assert_eq!(map.remove(&1), Some(2));
        assert_eq!(map.remove(&1), None);
    }
}
