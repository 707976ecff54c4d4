//! One HTTP exchange over a plain socket: enough of HTTP/1.1 to read a streamed completion.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// The name that the model is served under.
pub(crate) const MODEL: &str = "default";

/// When things happened in one streamed completion.
pub(crate) struct Timing {
    pub(crate) first_token: Duration,
    pub(crate) total: Duration,
    /// Between one event and the next, from the first one on.
    pub(crate) gaps: Vec<Duration>,
    pub(crate) output_tokens: u64,
}

/// The status of a GET.
pub(crate) fn status(port: u16, path: &str) -> Result<u16> {
    read_status(&mut get(port, path)?)
}

/// The value of a metric, whatever its labels, the first of that name; `None` where the server has
/// none.
pub(crate) fn metric(port: u16, name: &str) -> Result<Option<f64>> {
    for line in get(port, "/metrics")?.lines() {
        let line = line?;
        let Some((found, value)) = line.rsplit_once(' ') else { continue };
        if found.split('{').next() == Some(name) {
            return Ok(Some(value.parse()?));
        }
    }
    Ok(None)
}

fn get(port: u16, path: &str) -> Result<BufReader<TcpStream>> {
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    Ok(BufReader::new(socket))
}

/// One streamed completion of `prompt` with exactly `output` tokens.
pub(crate) fn completion(port: u16, prompt: &[u32], output: usize) -> Result<Timing> {
    let body = json!({
        "model": MODEL,
        "prompt": prompt,
        "max_tokens": output,
        "temperature": 0,
        "ignore_eos": true,
        "stream": true,
        "stream_options": { "include_usage": true },
        "cache_prompt": false,
    })
    .to_string();
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_nodelay(true)?;
    let started = Instant::now();
    write!(
        socket,
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut reader = BufReader::new(socket);
    let status = read_status(&mut reader)?;
    if status != 200 {
        bail!("status {status}");
    }
    read_events(reader, started)
}

fn read_status(reader: &mut impl BufRead) -> Result<u16> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let code = line.split_whitespace().nth(1).with_context(|| format!("status line {line:?}"))?;
    Ok(code.parse()?)
}

/// Reads events up to `[DONE]`. Chunk sizes and blank lines lie between them and are passed over.
fn read_events(mut reader: impl BufRead, started: Instant) -> Result<Timing> {
    let (mut first_token, mut last) = (None, Duration::ZERO);
    let mut gaps = Vec::new();
    let mut output_tokens = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            bail!("the stream ended before [DONE]");
        }
        let Some(data) = line.trim_end().strip_prefix("data: ") else { continue };
        if data == "[DONE]" {
            break;
        }
        let now = started.elapsed();
        let event: Value = serde_json::from_str(data).context("an event is not JSON")?;
        if event.pointer("/choices/0").is_some() {
            match first_token {
                None => first_token = Some(now),
                Some(_) => gaps.push(now - last),
            }
            last = now;
        }
        if let Some(count) = event.pointer("/usage/completion_tokens").and_then(Value::as_u64) {
            output_tokens = count;
        }
        if let Some(error) = event.get("error") {
            bail!("error event {error}");
        }
    }
    let first_token = first_token.context("no event before [DONE]")?;
    Ok(Timing { first_token, total: started.elapsed(), gaps, output_tokens })
}
