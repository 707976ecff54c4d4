//! llama.cpp's benchmark, one test a call.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::Test;

/// Runs a test once; its rate in tokens a second. `None` if `llama-bench` has no such test.
pub(crate) fn run(program: &Path, model: &Path, threads: usize, test: Test) -> Result<Option<f64>> {
    let (prompt, generate) = match test {
        Test::Prompt(tokens) => (tokens, 0),
        Test::Generate { tokens, batch: 1 } => (0, tokens),
        Test::Generate { .. } => return Ok(None),
    };
    let output = Command::new(program)
        .arg("-m")
        .arg(model)
        .args(["-p", &prompt.to_string(), "-n", &generate.to_string()])
        .args(["-t", &threads.to_string(), "-r", "1", "-o", "json"])
        .output()
        .with_context(|| format!("starting {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}\n{said}", program.display(), output.status);
    let results: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("reading what {} printed", program.display()))?;
    let rate = results[0]["avg_ts"].as_f64();
    rate.map(Some).with_context(|| format!("{} gave no avg_ts", program.display()))
}
