//! The binary as a user meets it: its words, its exit codes, and what it leaves on the disk.

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

mod command_line;
mod configuration;
mod desk;
mod folder;
mod hub;
mod model;
mod pypi;
mod running;
mod server;
mod serving;
mod simulate;
mod streaming;
mod tenants;
