//! A slab whose slots are linked in the order of their last use.

/// Marks the end of the list.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Slot<T> {
    value: Option<T>,
    older: u32,
    newer: u32,
}

/// Values in stable slots, with the least recently used one at hand. All operations are O(1).
#[derive(Debug)]
pub struct LruTable<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    oldest: u32,
    newest: u32,
}

impl<T> Default for LruTable<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), oldest: NONE, newest: NONE }
    }
}

impl<T> LruTable<T> {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a value in as the most recently used one and returns its slot.
    pub fn insert(&mut self, value: T) -> u32 {
        let slot = if let Some(slot) = self.free.pop() {
            slot
        } else {
            self.slots.push(Slot { value: None, older: NONE, newer: NONE });
            self.slots.len() as u32 - 1
        };
        if let Some(place) = self.slots.get_mut(slot as usize) {
            place.value = Some(value);
        }
        self.link(slot);
        slot
    }

    /// The value in a slot.
    pub fn get(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot as usize)?.value.as_ref()
    }

    /// The value in a slot.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.slots.get_mut(slot as usize)?.value.as_mut()
    }

    /// Takes a value out and frees its slot.
    pub fn remove(&mut self, slot: u32) -> Option<T> {
        let value = self.slots.get_mut(slot as usize)?.value.take()?;
        self.unlink(slot);
        self.free.push(slot);
        Some(value)
    }

    /// Makes a value the most recently used one.
    pub fn touch(&mut self, slot: u32) {
        if slot != self.newest && self.get(slot).is_some() {
            self.unlink(slot);
            self.link(slot);
        }
    }

    /// Slot of the least recently used value.
    pub fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// All values, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.slots.iter().enumerate().filter_map(|(slot, place)| Some((slot as u32, place.value.as_ref()?)))
    }

    fn link(&mut self, slot: u32) {
        let newest = self.newest;
        if let Some(place) = self.slots.get_mut(slot as usize) {
            (place.older, place.newer) = (newest, NONE);
        }
        match self.slots.get_mut(newest as usize) {
            Some(place) => place.newer = slot,
            None => self.oldest = slot,
        }
        self.newest = slot;
    }

    fn unlink(&mut self, slot: u32) {
        let Some((older, newer)) = self.slots.get(slot as usize).map(|place| (place.older, place.newer))
        else {
            return;
        };
        match self.slots.get_mut(older as usize) {
            Some(place) => place.newer = newer,
            None => self.oldest = newer,
        }
        match self.slots.get_mut(newer as usize) {
            Some(place) => place.older = older,
            None => self.newest = older,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(table: &mut LruTable<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| table.remove(table.oldest()?)).collect()
    }

    #[test]
    fn oldest_is_the_least_recently_touched() {
        let mut table = LruTable::default();
        let slots = ["a", "b", "c", "d"].map(|name| table.insert(name));
        table.touch(slots[0]);
        table.touch(slots[3]);
        table.touch(slots[1]);
        assert_eq!(drain(&mut table), ["c", "a", "d", "b"]);
        assert!(table.is_empty());
    }

    #[test]
    fn slots_are_used_again_and_removal_in_the_middle_keeps_the_order() {
        let mut table = LruTable::default();
        let slots = ["a", "b", "c"].map(|name| table.insert(name));
        assert_eq!(table.remove(slots[1]), Some("b"));
        assert_eq!(table.remove(slots[1]), None);
        assert_eq!(table.insert("d"), slots[1]);
        table.touch(99);
        assert_eq!(table.len(), 3);
        assert_eq!(drain(&mut table), ["a", "c", "d"]);
        assert_eq!(table.insert("e"), slots[1]);
    }
}
