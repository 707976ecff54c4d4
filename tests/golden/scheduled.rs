//! Runs sequences through an executor as the real scheduler plans them, preemptions and prefix
//! cache included.

use std::sync::Arc;

use engine_contract::{Executor, TokenId};
use runtime_core::{
    Costs, End, Finish, Limits, PrefixCache, Pricing, Request, RequestId, Scheduler, Snapshot,
    Terms, Tick, Updates,
};

use crate::driver::Job;

/// A scheduler over an executor, its pool as small as it is told.
pub(crate) struct Scheduled<'a> {
    executor: &'a mut dyn Executor,
    scheduler: Scheduler,
    next: u64,
}

impl<'a> Scheduled<'a> {
    pub(crate) fn new(
        executor: &'a mut dyn Executor,
        num_blocks: u32,
        prefix_cache: PrefixCache,
    ) -> Self {
        let info = *executor.info();
        assert!(num_blocks <= info.num_blocks, "{num_blocks} blocks of {}", info.num_blocks);
        let scheduler = Scheduler::new(Limits {
            block_size: info.block_size,
            num_blocks,
            context: info.context,
            rows_max: info.rows_max,
            step_tokens_max: info.step_tokens_max,
            pipeline_depth: 1,
            waiting_max: 1024,
            waiting_tokens_max: 1 << 20,
            step_timeout_us: u64::MAX,
            prefix_cache,
            costs: Costs::default(),
            pricing: Pricing::Fixed,
            itl_target_us: 0,
            ageing_us: 1,
        });
        Self { executor, scheduler, next: 0 }
    }

    /// Runs all jobs together to their end; what each drew.
    pub(crate) fn run(&mut self, jobs: &[Job]) -> Vec<Vec<u32>> {
        let first = self.next;
        for job in jobs {
            let request = self.request(job);
            self.scheduler.submit(request, Tick(0)).expect("there is room for it");
        }
        let mut drawn = vec![Vec::new(); jobs.len()];
        let mut updates = Updates::default();
        while !self.scheduler.is_quiet() {
            let plan = self.scheduler.plan(Tick(0)).expect("something is open, and nothing runs");
            let ticket = self.executor.launch(plan).expect("a working engine");
            self.scheduler.complete(&ticket.wait().expect("a working engine"), Tick(0));
            self.scheduler.poll_updates(&mut updates);
            for update in &updates.entries {
                let tokens = updates.tokens[update.tokens.clone()].iter().map(|token| token.0);
                drawn[(update.id.0 - first) as usize].extend(tokens);
                let length = End::Finished(Finish::Length);
                assert!(update.end.is_none_or(|end| end == length), "{update:?}");
            }
        }
        drawn
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.scheduler.snapshot()
    }

    fn request(&mut self, job: &Job) -> Request {
        let id = RequestId(self.next);
        self.next += 1;
        Request {
            id,
            prompt: job.prompt.iter().copied().map(TokenId).collect(),
            max_tokens: u32::try_from(job.outputs).expect("a small number"),
            min_tokens: 0,
            stop_tokens: Arc::new([]),
            sampling: Arc::new(job.sampling.clone()),
            salt: 0,
            terms: Terms::default(),
        }
    }
}
