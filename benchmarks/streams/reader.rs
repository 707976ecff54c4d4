//! One streamed completion on a socket that never blocks.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use mio::net::TcpStream;
use mio::{Interest, Poll, Token};

use crate::Options;

/// How far a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Every token and the end have come.
    Complete,
    /// It ended in another way.
    Lost,
    /// The head of the answer has come.
    Open,
    /// The request is on its way.
    Opening,
}

/// A stream, and what has been read of it.
pub(crate) struct Reader {
    socket: TcpStream,
    request: Vec<u8>,
    state: State,
    /// The end of what was read, in which a word may be cut.
    tail: Vec<u8>,
    num_tokens: usize,
    num_expected: usize,
    started: Instant,
    ttft: Option<Duration>,
}

/// Each token's event has one of these.
const TOKEN: &[u8] = b"\"text\":";
const END: &[u8] = b"data: [DONE]";
const HEAD: &[u8] = b"HTTP/1.1 200";

impl Reader {
    pub(crate) fn open(
        address: SocketAddr,
        poll: &Poll,
        token: Token,
        options: &Options,
    ) -> Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        poll.registry().register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        let prompt: Vec<_> =
            (0..options.prompt).map(|at| 300 + (token.0 * 7 + at) % 20_000).collect();
        let body = serde_json::json!({
            "model": crate::server::MODEL,
            "prompt": prompt,
            "max_tokens": options.output,
            "ignore_eos": true,
            "stream": true,
        })
        .to_string();
        let request = format!(
            "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        Ok(Self {
            socket,
            request: request.into_bytes(),
            state: State::Opening,
            tail: Vec::new(),
            num_tokens: 0,
            num_expected: options.output,
            started: Instant::now(),
            ttft: None,
        })
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    pub(crate) const fn ttft(&self) -> Option<Duration> {
        self.ttft
    }

    /// Writes and reads what can be without waiting.
    pub(crate) fn advance(&mut self) -> State {
        let mut buffer = [0; 16 << 10];
        loop {
            if !self.request.is_empty() {
                match self.socket.write(&self.request) {
                    Ok(len) => drop(self.request.drain(..len)),
                    Err(error) if is_wait(error.kind()) => return self.state,
                    Err(_) => return self.end(State::Lost),
                }
                continue;
            }
            match self.socket.read(&mut buffer) {
                Ok(0) => {
                    let state =
                        if self.state == State::Complete { self.state } else { State::Lost };
                    return self.end(state);
                }
                Ok(len) => {
                    self.hear(&buffer[..len]);
                    if matches!(self.state, State::Complete | State::Lost) {
                        return self.state;
                    }
                }
                Err(error) if is_wait(error.kind()) => return self.state,
                Err(_) => return self.end(State::Lost),
            }
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        let already = self.tail.len();
        self.tail.extend_from_slice(bytes);
        if self.state == State::Opening {
            self.state = if self.tail.starts_with(HEAD) { State::Open } else { State::Lost };
        }
        let new = |word: &[u8]| {
            let ends = self.tail.windows(word.len()).enumerate();
            ends.filter(|&(at, found)| found == word && at + word.len() > already).count()
        };
        let (num_texts, has_ended) = (new(TOKEN), new(END) > 0);
        if num_texts > 0 && self.ttft.is_none() {
            self.ttft = Some(self.started.elapsed());
        }
        self.num_tokens += num_texts;
        if has_ended {
            // A slow reader gets several tokens in one event, and the last one has none.
            let is_whole = (1..=self.num_expected + 1).contains(&self.num_tokens);
            self.state = if is_whole { State::Complete } else { State::Lost };
        }
        let keep = self.tail.len().saturating_sub(END.len() - 1);
        self.tail.drain(..keep);
    }

    fn end(&mut self, state: State) -> State {
        self.state = state;
        state
    }
}

fn is_wait(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::NotConnected | ErrorKind::Interrupted)
}
