//! A server in a process of its own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command};

use crate::desk::Desk;

/// A server that is ready. Ends with the value at the latest.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: String,
    /// What it says to be ready: two lines.
    pub(crate) said: [String; 2],
    log: Option<BufReader<ChildStderr>>,
}

impl Running {
    pub(crate) fn start(desk: &Desk, model: &str, arguments: &[&str]) -> Self {
        let options = [&["serve", "--model", model, "--port", "0"], arguments].concat();
        let mut child = desk.start(&options);
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let log = child.stderr.take().map(BufReader::new);
        let said = [(); 2].map(|()| {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        });
        let address =
            said[0].split("http://").last().unwrap().trim_end_matches("; try:").to_owned();
        Self { child, address, said, log }
    }

    pub(crate) fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }

    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    pub(crate) fn send(&self, head: &str, body: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        BufReader::new(stream)
    }

    pub(crate) fn answer(&self, head: &str, body: &str) -> String {
        let mut answer = String::new();
        self.send(head, body).read_to_string(&mut answer).unwrap();
        answer
    }

    pub(crate) fn wait_until_draining(&self) {
        while !self.answer("GET /ready", "").starts_with("HTTP/1.1 503") {}
    }

    /// What the log says from here to its end.
    pub(crate) fn rest_of_log(&mut self) -> String {
        let mut rest = String::new();
        self.log.as_mut().unwrap().read_to_string(&mut rest).unwrap();
        rest
    }

    pub(crate) fn wait_for_log(&mut self, words: &str) {
        let log = self.log.as_mut().unwrap();
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the log ended without {words:?}");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
