//! Which experts the positions of a step go to, chosen and sorted on the device.
#![expect(unsafe_code, reason = "launches kernels")]

use std::ops::Range;

use engine_backend::{BackendError, Router};

use crate::buffer::{Buffer, Element};
use crate::job::Shape;
use crate::memory::Memory;
use crate::module::{Function, Modules};
use crate::queue::{Grid, Queue};
use crate::{DeviceInfo, OpenError, pipelined};

/// Most experts of a layer: what a block keeps of a position's scores.
const EXPERTS_MAX: usize = 1024;

/// Bytes that a block needs for each choice of the positions it chooses for.
pub(crate) const ROOM_OF_CHOICE: usize = 16;

/// Most positions whose choices one block places; where there are more, each has as many.
pub(crate) const GROUP: usize = 256;

/// Which experts the positions of a step chose, and with which weights; the choices of the rank's
/// experts in the order of experts, cut into tiles of one expert each.
pub struct Routes {
    memory: Memory,
    router: Router,
    /// The experts of the rank's share.
    held: Range<usize>,
    capacity: usize,
    positions: usize,
    shape: Shape,
}

/// The kernels.
pub(crate) struct RouteKernels {
    choose: Function,
    sort: Function,
    few: Function,
    count: Function,
    place: Function,
    shared_bytes: usize,
    /// Whether products are those of [`pipelined`].
    pipelined: bool,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Route {
    scores: u64,
    weights: u64,
    experts: u64,
    counts: u64,
    arrivals: u64,
    places: u64,
    rows: u64,
    tiles: u64,
    num_tiles: u64,
    pub(crate) positions: i32,
    pub(crate) num_experts: i32,
    pub(crate) chosen: i32,
    normalised: i32,
    tile: i32,
    first_held: i32,
    num_held: i32,
}

impl Routes {
    pub(crate) fn new(
        queue: &Queue,
        capacity: usize,
        router: Router,
        held: Range<usize>,
    ) -> Result<Self, BackendError> {
        let Router { experts, chosen, .. } = router;
        assert!((1..=experts).contains(&chosen), "chosen experts");
        if experts > EXPERTS_MAX {
            return Err(BackendError::Device(format!(
                "{experts} experts, expected at most {EXPERTS_MAX}"
            )));
        }
        let shape = Shape::Skinny;
        let mut routes = Self {
            memory: Memory::new(queue.context(), 0)?,
            router,
            held,
            capacity,
            positions: capacity,
            shape,
        };
        routes.memory = Memory::new(queue.context(), routes.place(8))?;
        queue.fill_with(&routes.memory, 0)?;
        routes.positions = 0;
        Ok(routes)
    }

    /// Waits for the device, and counts the experts that somebody chose.
    ///
    /// # Errors
    /// The device's.
    pub fn distinct(&self) -> Result<usize, BackendError> {
        let mut number = [0_u32];
        self.memory.read(self.place(6), bytemuck::cast_slice_mut(&mut number))?;
        let mut tiles = vec![[0_u32; 4]; number[0] as usize];
        self.memory.read(self.place(5), bytemuck::cast_slice_mut(&mut tiles))?;
        let mut experts: Vec<_> = tiles.iter().map(|tile| tile[0]).collect();
        experts.dedup();
        Ok(experts.len())
    }

    /// Where the `nth` of its arrays begins; the one after the last is the end.
    fn place(&self, nth: usize) -> usize {
        let choices = self.capacity * self.router.chosen;
        let counts = self.capacity.div_ceil(GROUP) * self.router.experts;
        let tiles = choices.min(self.router.experts) + choices.div_ceil(Shape::Skinny.rows());
        let sizes = [choices, choices, counts, choices, choices, 4 * tiles, 4, 1];
        sizes[..nth].iter().map(|words| (4 * words).next_multiple_of(256)).sum()
    }

    pub(crate) fn router(&self) -> Router {
        self.router
    }

    /// How many experts the rank has.
    pub(crate) fn num_held(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn positions(&self) -> usize {
        self.positions
    }

    pub(crate) fn choices(&self) -> usize {
        self.positions * self.router.chosen
    }

    /// How products are cut: tiles have at most as many choices.
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// No step has more tiles: one for each expert that somebody chose, and more where an expert
    /// may have more choices than a tile.
    pub(crate) fn tiles_max(&self) -> usize {
        let choices = self.choices();
        let more = if self.positions > self.shape.rows() { choices / self.shape.rows() } else { 0 };
        choices.min(self.held.len()) + more
    }

    /// The weight of each choice, position by position, the largest first.
    pub(crate) fn weights(&self) -> u64 {
        self.memory.at(self.place(0))
    }

    /// The place of each choice in the order of experts, likewise; less than none where another
    /// rank has the expert.
    pub(crate) fn places(&self) -> u64 {
        self.memory.at(self.place(3))
    }

    /// The position of each choice, in the order of experts.
    pub(crate) fn rows(&self) -> u64 {
        self.memory.at(self.place(4))
    }

    pub(crate) fn tiles(&self) -> u64 {
        self.memory.at(self.place(5))
    }

    pub(crate) fn num_tiles(&self) -> u64 {
        self.memory.at(self.place(6))
    }
}

impl Route {
    /// Bytes of shared memory that a block needs that chooses for all positions.
    pub(crate) const fn room(&self) -> usize {
        ROOM_OF_CHOICE * (self.positions * self.chosen) as usize
    }

    /// Bytes of shared memory that a block needs that places the choices of a group.
    pub(crate) const fn group_room(&self) -> usize {
        // An odd number of words of bits for each expert, what comes before it, and tiles likewise.
        size_of::<u32>() * (self.num_held as usize * (GROUP / 32 + 1 + 2) + 1)
    }
}

impl RouteKernels {
    pub(crate) fn load(modules: &Modules<'_>, info: &DeviceInfo) -> Result<Self, OpenError> {
        Ok(Self {
            choose: modules.function("route", "route_choose")?,
            sort: modules.function("route", "route_sort")?,
            few: modules.function("route", "route_few_positions")?,
            count: modules.function("route_many", "route_count")?,
            place: modules.function("route_many", "route_place")?,
            shared_bytes: info.shared_bytes,
            pipelined: pipelined::are_for(info),
        })
    }

    pub(crate) fn launch(
        &self,
        queue: &Queue,
        scores: &Buffer,
        router: Router,
        routes: &mut Routes,
    ) {
        let params = self.params(scores, router, routes);
        self.enqueue(queue, scores.rows(), router, &params);
    }

    /// What a kernel needs that chooses by `scores`.
    pub(crate) fn params(&self, scores: &Buffer, router: Router, routes: &mut Routes) -> Route {
        assert_eq!(scores.width(), router.experts, "a score for each expert");
        assert_eq!(routes.router, router, "routes are those of the router");
        assert!(scores.rows() <= routes.capacity, "positions of routes");
        routes.positions = scores.rows();
        routes.shape = self.tile(routes.choices() / router.experts);
        Route {
            scores: scores.held(Element::F32),
            weights: routes.weights(),
            experts: routes.memory.at(routes.place(1)),
            counts: routes.memory.at(routes.place(2)),
            arrivals: routes.memory.at(routes.place(7)),
            places: routes.places(),
            rows: routes.rows(),
            tiles: routes.tiles(),
            num_tiles: routes.num_tiles(),
            positions: scores.rows() as i32,
            num_experts: router.experts as i32,
            chosen: router.chosen as i32,
            normalised: i32::from(router.normalised),
            tile: routes.shape.rows() as i32,
            first_held: routes.held.start as i32,
            num_held: routes.held.len() as i32,
        }
    }

    fn enqueue(&self, queue: &Queue, positions: usize, router: Router, params: &Route) {
        const THREADS: usize = 1024;
        const TOGETHER: usize = 4;
        let chosen = router.chosen;
        // SAFETY: there is a row of scores for each position, and so it is with the routes' arrays;
        // tiles have room for the most that there can be.
        unsafe {
            if positions <= THREADS / 32 && positions * chosen <= THREADS {
                let shared = params.room();
                queue.launch(self.few, Grid { shared, ..Grid::new((1, 1), THREADS) }, params);
                return;
            }
            let grid = Grid::new((positions.div_ceil(TOGETHER), 1), 32 * TOGETHER);
            let shared = ROOM_OF_CHOICE * TOGETHER * chosen;
            queue.launch(self.choose, Grid { shared, ..grid }, params);
            let shared = params.group_room();
            if positions > GROUP {
                let grid = Grid { shared, ..Grid::new((positions.div_ceil(GROUP), 1), 256) };
                queue.launch(self.count, grid, params);
                queue.launch(self.place, grid, params);
                return;
            }
            queue.launch(self.sort, Grid { shared, ..Grid::new((1, 1), THREADS) }, params);
        }
    }

    /// The shape for as many choices as an expert has on average: most experts fill one tile.
    fn tile(&self, choices: usize) -> Shape {
        match choices {
            0..=3 => Shape::Skinny,
            4 if self.pipelined => Shape::Skinny,
            _ if self.pipelined => Shape::Tiled(pipelined::expert_rows(choices)),
            4..=10 => Shape::Tiled(16),
            11..=22 => Shape::Tiled(32),
            23..=44 => Shape::Tiled(64),
            _ => Shape::largest(self.shared_bytes),
        }
    }
}
