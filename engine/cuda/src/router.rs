//! A router: `route(x weight^T)`, in one kernel. There is one for few positions, and one for as
//! many as a block can place the choices of.
#![expect(unsafe_code, reason = "launches kernels")]

use crate::buffer::{Buffer, Element};
use crate::experts::Experts;
use crate::format::UNIT_OUTPUTS;
use crate::job::{Instances, Job, slices};
use crate::matrix::Matrix;
use crate::module::{Function, Modules};
use crate::norm::Normed;
use crate::queue::{Grid, Queue};
use crate::route::{GROUP, ROOM_OF_CHOICE, Route};
use crate::{DeviceInfo, OpenError, pipelined, skinny};

/// The least compute capability whose blocks see each other's shared memory.
const CLUSTERS_MIN: (i32, i32) = (9, 0);
/// Blocks of a kernel, as in `kernels/router.cu`.
const BLOCKS: usize = 8;
/// Bytes of a weight that are fetched ahead: what memory has the time for.
const AHEAD_BYTES: usize = 16 << 20;
/// Most experts of both.
const EXPERTS_MAX: usize = BLOCKS * UNIT_OUTPUTS;
/// Bytes of shared memory that a block takes besides its own.
const SHARED_SPARE: usize = 5 << 10;

/// The kernels.
pub(crate) struct Routers {
    plain: Instances,
    normed: Instances,
    /// For more than a few positions, where products are those of [`pipelined`].
    many: Option<Instances>,
    /// Of a block; none where there are no clusters.
    shared_bytes: usize,
}

/// How many positions a kernel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Few,
    Many,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Router {
    job: Job,
    normed: Normed,
    route: Route,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct RouterOfMany {
    job: Job,
    route: Route,
    next: u64,
    next_bytes: i32,
}

/// A router of many that is put off until it is known what comes after.
pub(crate) struct Routing {
    kernel: Function,
    grid: Grid,
    params: RouterOfMany,
}

impl Routing {
    /// The first experts' weights are fetched ahead, if most experts are chosen by few positions.
    /// Where each has many, the caches have enough to do.
    pub(crate) fn fetch_ahead(&mut self, weight: &Experts) {
        let Route { positions, chosen, num_experts, .. } = self.params.route;
        let choices = positions * chosen;
        let pays = choices >= 4 * num_experts && choices <= 8 * num_experts;
        if let Some(part) = weight.parts.first().filter(|_| pays) {
            self.params.next = part.memory.at(0);
            self.params.next_bytes = part.memory.bytes().min(AHEAD_BYTES) as i32 / 16 * 16;
        }
    }

    pub(crate) fn launch(&self, queue: &Queue) {
        // SAFETY: `x` and `scores` have a row for each position; the weight's memory covers its
        // outputs' units; the routes have room for each position's choices. The sums of a cluster
        // take more room than the choices of its positions, and than what a block needs to place
        // all. What is fetched ahead is a weight's.
        unsafe { queue.launch(self.kernel, self.grid, &self.params) };
    }
}

impl Routers {
    pub(crate) fn load(modules: &Modules<'_>, info: &DeviceInfo) -> Result<Self, OpenError> {
        let plain = Instances::load(modules, "router", "router")?;
        let normed = Instances::load(modules, "router", "router_normed")?;
        let shared_bytes =
            if info.capability >= CLUSTERS_MIN { info.shared_bytes - SHARED_SPARE } else { 0 };
        let many = pipelined::are_for(info)
            .then(|| Instances::load(modules, "router_many", "router_many"))
            .transpose()?;
        Ok(Self { plain, normed, many, shared_bytes })
    }

    /// The kernel for so many positions, of which each chooses so many experts.
    pub(crate) fn of(&self, weight: &Matrix, positions: usize, chosen: usize) -> Option<Scope> {
        let [part] = &weight.parts[..] else { return None };
        if weight.outputs > EXPERTS_MAX {
            return None;
        }
        let threads = 32 * slices(weight.inputs);
        let few = (1..=skinny::ROWS_MAX).contains(&positions)
            && positions * chosen <= threads
            && skinny::resident_bytes(part.format, weight.inputs, positions)
                .max(ROOM_OF_CHOICE * positions * chosen)
                <= self.shared_bytes;
        let many = self.many.is_some() && (1..=GROUP).contains(&positions);
        if few { Some(Scope::Few) } else { many.then_some(Scope::Many) }
    }

    /// `scores = x weight^T`, and the routes by them. With `normed`, which is for few, `x` is that
    /// norm, still to be made. What is for many is returned, to be launched.
    pub(crate) fn launch(
        &self,
        queue: &Queue,
        scope: Scope,
        (x, weight, normed): (&Buffer, &Matrix, Option<Normed>),
        scores: &mut Buffer,
        route: impl FnOnce(&Buffer) -> Route,
    ) -> Option<Routing> {
        let Matrix { outputs, inputs, ref parts } = *weight;
        let part = &parts[0];
        assert_eq!(x.width(), inputs, "inputs of a router");
        assert_eq!(scores.width(), outputs, "a score for each expert");
        scores.begin(x.rows(), Element::F32);
        let job = Job::of_rows(part, (x, weight, None), scores);
        let route = route(scores);
        if let (Scope::Many, Some(many)) = (scope, &self.many) {
            let (kernel, grid) =
                (many.get(part.format), pipelined::router_grid(part.format, x.rows()));
            let params = RouterOfMany { job, route, next: 0, next_bytes: 0 };
            return Some(Routing { kernel, grid, params });
        }
        let shared = skinny::resident_bytes(part.format, inputs, x.rows());
        let grid = Grid {
            shared: shared.max(route.room()),
            ..Grid::new((BLOCKS, 1), 32 * slices(inputs))
        };
        let kernels = if normed.is_some() { &self.normed } else { &self.plain };
        let normed = normed.unwrap_or_default();
        let params = Router { job, normed, route };
        // SAFETY: `x` and `scores` have a row for each position; the weight's memory covers its
        // outputs' units; the routes have room for each position's choices.
        unsafe { queue.launch(kernels.get(part.format), grid, &params) };
        None
    }
}
