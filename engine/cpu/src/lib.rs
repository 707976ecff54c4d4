//! engine-cpu
