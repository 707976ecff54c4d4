//! How the attention of lone positions is shared out to blocks.
//!
//! A position's keys and values are taken in stretches, which are folded in their order. A block
//! has some of them, one after the other; where a position is cut among several, what comes of each
//! stretch waits in a slot for the last of them, but for those of the first, which folds its own.
//! Bits do not depend on the cut.

use std::cmp::Reverse;

use bytemuck::{Pod, Zeroable};

/// Positions of a stretch.
pub(crate) const STRETCH: usize = 512;

/// A position that is alone in its span.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lone {
    /// Its place in the step.
    pub(crate) token: u32,
    /// Its place in the sequence.
    pub(crate) position: u32,
    /// Where its block table begins.
    pub(crate) blocks: u32,
}

/// Stretches of a position, for one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Piece {
    token: u32,
    position: u32,
    blocks: u32,
    begin: u32,
    end: u32,
    /// Of the position.
    pieces: u32,
    /// The position's first.
    slot: u32,
    /// The last stretch of the first piece.
    folded: u32,
}

/// What a step has for pieces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Pieces that keep the device busy.
    pub(crate) busy: usize,
    /// Slots for stretches that wait.
    pub(crate) slots: usize,
}

impl Piece {
    /// Nobody's: it makes up a number of pieces that recurs.
    pub(crate) const NONE: Self = Self {
        token: u32::MAX,
        position: 0,
        blocks: 0,
        begin: 0,
        end: 0,
        pieces: 0,
        slot: 0,
        folded: 0,
    };
}

impl Lone {
    fn stretches(&self) -> usize {
        self.position as usize / STRETCH + 1
    }

    fn positions(&self) -> usize {
        self.position as usize + 1
    }

    /// Slots that it takes if no piece has more than so many stretches.
    fn slots(&self, most: usize) -> usize {
        let stretches = self.stretches();
        if stretches > most { stretches - most + 1 } else { 0 }
    }
}

impl Room {
    /// The most pieces that come of so many positions.
    pub(crate) fn pieces_max(&self, positions: usize) -> usize {
        2 * positions + self.busy
    }

    /// Cuts positions into so many pieces that the device is busy, if there are slots for them; the
    /// longest come first.
    pub(crate) fn cut(&self, lone: &[Lone], pieces: &mut Vec<Piece>) {
        let positions: usize = lone.iter().map(Lone::positions).sum();
        let mut most = positions.div_ceil(STRETCH * self.busy).max(1);
        while lone.iter().map(|lone| lone.slots(most)).sum::<usize>() > self.slots {
            most *= 2;
        }
        pieces.clear();
        let mut slot = 0;
        for lone in lone {
            pieces.extend(cut_one(*lone, most, slot as u32));
            slot += lone.slots(most);
        }
        pieces.sort_by_key(|piece| Reverse(piece.end - piece.begin));
    }
}

/// The pieces of one position, whose slots begin at `slot`.
fn cut_one(lone: Lone, most: usize, slot: u32) -> impl Iterator<Item = Piece> {
    let Lone { token, position, blocks } = lone;
    let stretches = lone.stretches();
    let pieces = stretches.div_ceil(most) as u32;
    let folded = most.min(stretches) as u32 - 1;
    (0..stretches).step_by(most).map(move |begin| {
        let end = (begin + most).min(stretches) as u32;
        Piece { token, position, blocks, begin: begin as u32, end, pieces, slot, folded }
    })
}

/// Up to an eighth more, so that few numbers occur.
pub(crate) fn rounded(count: usize) -> usize {
    count.next_multiple_of((count.next_power_of_two() / 8).max(1))
}

#[cfg(test)]
mod tests {
    use super::{Lone, Piece, Room, STRETCH, rounded};

    fn lone(positions: &[usize]) -> Vec<Lone> {
        let one = |(token, &position): (usize, &usize)| Lone {
            token: token as u32,
            position: position as u32,
            blocks: 7 * token as u32,
        };
        positions.iter().enumerate().map(one).collect()
    }

    fn cut(room: Room, positions: &[usize]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        room.cut(&lone(positions), &mut pieces);
        pieces
    }

    #[test]
    fn every_stretch_is_in_one_piece_and_waits_in_a_slot_of_its_own() {
        let positions = [0, 511, 512, 5_000, 32_767, 70_000, 3];
        for (busy, slots) in [(1, 100), (4, 100), (40, 100), (66, 20), (500, 1000), (66, 0)] {
            let room = Room { busy, slots };
            let pieces = cut(room, &positions);
            assert!(pieces.len() <= room.pieces_max(positions.len()), "{room:?}");
            let mut waiting = Vec::new();
            for (token, position) in positions.iter().enumerate() {
                let its: Vec<_> = pieces.iter().filter(|p| p.token == token as u32).collect();
                assert!(its.iter().all(|p| p.pieces as usize == its.len()), "{room:?}");
                let mut seen: Vec<_> = its.iter().flat_map(|p| p.begin..p.end).collect();
                seen.sort_unstable();
                assert!(seen.into_iter().eq(0..(position / STRETCH + 1) as u32), "{room:?}");
                for piece in its.iter().filter(|p| p.pieces > 1) {
                    let leaves = if piece.begin == 0 { piece.end - 1 } else { piece.begin };
                    waiting.extend((leaves..piece.end).map(|at| piece.slot + at - piece.folded));
                }
            }
            waiting.sort_unstable();
            assert!(waiting.len() <= slots, "{room:?}");
            assert!(waiting.into_iter().enumerate().all(|(at, slot)| at == slot as usize));
        }
    }

    #[test]
    fn what_keeps_the_device_busy_anyway_is_not_cut() {
        let room = Room { busy: 66, slots: 1000 };
        assert_eq!(cut(room, &[9_000; 67]).len(), 67);
        assert_eq!(cut(room, &[32_767]).len(), 64);
        assert_eq!(cut(room, &[256]).len(), 1);
    }

    #[test]
    fn few_numbers_of_pieces_occur_and_little_is_added() {
        let mut seen: Vec<_> = (1..=4096).map(rounded).collect();
        for (count, rounded) in (1..=4096).zip(&seen) {
            assert!(count <= *rounded && 8 * (rounded - count) <= 2 * count, "{count}: {rounded}");
        }
        seen.dedup();
        assert!(seen.len() < 64, "{} numbers", seen.len());
    }
}
