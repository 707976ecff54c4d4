//! Values that stay put under small typed keys, so that the hot path indexes instead of searching.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Index, IndexMut};

/// Names a value in an [`Arena`] until it is removed; the number is reused afterwards.
pub(crate) struct Key<T>(u32, PhantomData<fn() -> T>);

/// Values under keys.
pub(crate) struct Arena<T> {
    places: Vec<Option<T>>,
    vacant: Vec<u32>,
}

impl<T> Arena<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), vacant: Vec::new() }
    }

    /// The key that the next insertion returns.
    pub(crate) fn next_key(&self) -> Key<T> {
        let index = self.vacant.last().copied();
        Key(index.unwrap_or(self.places.len() as u32), PhantomData)
    }

    pub(crate) fn insert(&mut self, value: T) -> Key<T> {
        let key = self.next_key();
        match self.vacant.pop() {
            Some(index) => self.places[index as usize] = Some(value),
            None => self.places.push(Some(value)),
        }
        key
    }

    pub(crate) fn remove(&mut self, key: Key<T>) -> T {
        let value = self.places[key.0 as usize].take().expect("a key in use names a value");
        self.vacant.push(key.0);
        value
    }

    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.vacant.clear();
    }

    /// All values with their keys, in the order of the keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key<T>, &T)> {
        let keyed = self.places.iter().enumerate();
        keyed.filter_map(|(index, place)| Some((Key(index as u32, PhantomData), place.as_ref()?)))
    }
}

impl<T> Key<T> {
    /// The number, for a list beside the arena.
    pub(crate) const fn number(self) -> u32 {
        self.0
    }
}

impl<T> Index<Key<T>> for Arena<T> {
    type Output = T;

    fn index(&self, key: Key<T>) -> &T {
        self.places[key.0 as usize].as_ref().expect("a key in use names a value")
    }
}

impl<T> IndexMut<Key<T>> for Arena<T> {
    fn index_mut(&mut self, key: Key<T>) -> &mut T {
        self.places[key.0 as usize].as_mut().expect("a key in use names a value")
    }
}

// By hand, because derives would ask the same of `T`.
impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Key<T> {}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
