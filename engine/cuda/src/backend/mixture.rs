//! A mixture of experts: which kernels route positions, and which multiply their choices.

use engine_backend::{Activation, Backend as _, ExpertInput, Router};

use super::CudaBackend;
use crate::buffer::Buffer;
use crate::experts::Experts;
use crate::kernels::Kernels;
use crate::matrix::Matrix;
use crate::put_off::Product;
use crate::route::Routes;
use crate::router::Scope;

impl CudaBackend {
    /// Scores and routes in one kernel, if there is one; that of many positions is put off.
    pub(super) fn score_and_route(
        &mut self,
        (x, weight): (&Buffer, &Matrix),
        scores: &mut Buffer,
        router: Router,
        routes: &mut Routes,
    ) {
        let Some(scope) = self.kernels.routers.of(weight, x.rows(), router.chosen) else {
            self.linear(x, weight, None, scores);
            return self.route(scores, router, routes);
        };
        let norms = scope == Scope::Few;
        let normed = self.put_off.normed.take_if(|normed| norms && normed.is_for_readers(x));
        self.settle();
        let Kernels { routers, routes: kernels, .. } = &self.kernels;
        let route = |scores: &Buffer| kernels.params(scores, router, routes);
        let what = (x, weight, normed);
        self.put_off.routing = routers.launch(&self.queue, scope, what, scores, route);
    }

    /// Gate and up of all choices, with the activation.
    pub(super) fn gate_choices(
        &mut self,
        (x, weight): (&Buffer, &Experts),
        (routes, activation): (&Routes, Activation),
        between: &mut Buffer,
        out: &mut Buffer,
    ) {
        if let Some(routing) = &mut self.put_off.routing {
            routing.fetch_ahead(weight);
        }
        self.settle();
        let how = (routes, activation);
        if self.kernels.strips.take_gated(weight, routes) {
            self.kernels.strips.gated(&self.queue, (x, weight), how, out);
            self.routed = Some(routes.tiles());
        } else if let Some(part) = self.kernels.mixtures.gate_and_up(weight, routes) {
            self.kernels.mixtures.gated(&self.queue, (x, weight, part), how, out);
            self.routed = Some(routes.tiles());
        } else {
            let how = (x, weight, routes, activation);
            if !self.kernels.gated_experts(&self.queue, how, between, out) {
                self.expert_linear(x, ExpertInput::Positions, weight, routes, between);
                self.gated(between, activation, out);
            }
        }
    }

    /// Down of all choices, and the sum of each position's; it is put off where that pays.
    pub(super) fn sum_choices(
        &mut self,
        (x, weight): (&Buffer, &Experts),
        routes: &Routes,
        between: &mut Buffer,
        out: &mut Buffer,
    ) {
        let early = self.routed == Some(routes.tiles());
        if let Some((part, cut)) = self.kernels.mixtures.down(weight, routes) {
            self.settle();
            let how = (routes, cut, early);
            let sum = self.kernels.mixtures.sum((x, weight, part), how, out);
            self.put_off.product = Some(Product::Experts(sum));
            return;
        }
        if self.kernels.strips.take(weight, routes) {
            self.settle();
            self.kernels.strips.product(&self.queue, (x, weight), (routes, early), between);
        } else {
            self.expert_linear(x, ExpertInput::Choices, weight, routes, between);
        }
        self.combine(between, routes, out);
    }
}
