//! A client that speaks raw bytes, and can leave in every way that a peer can.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

/// Longest that a test waits for bytes before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    /// Received and not yet consumed.
    inbox: Vec<u8>,
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// As received, without the closing empty line.
    pub(crate) raw: String,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    /// Without its transfer coding.
    pub(crate) body: String,
}

impl Head {
    /// A header's value, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.raw.lines().skip(1).filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value)
    }
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Status, `param` and `code` of an error, after a check that its shape is OpenAI's exactly.
    pub(crate) fn error(&self) -> (u16, Option<String>, String) {
        let json = self.json();
        let error = json["error"].as_object().unwrap_or_else(|| panic!("no error: {self:?}"));
        assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
        let keys: Vec<_> = error.keys().map(String::as_str).collect();
        assert_eq!(keys, ["message", "type", "param", "code"], "{json}");
        assert!(!error["message"].as_str().unwrap().is_empty());
        assert!(self.body.len() < 4096);
        let text = |key: &str| error[key].as_str().map(str::to_owned);
        (self.head.status, text("param"), text("code").expect("a code"))
    }
}

impl Client {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, inbox: Vec::new() }
    }

    /// A connection that holds few bytes for a reader that takes none.
    pub(crate) fn connect_narrow(to: SocketAddr) -> Self {
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&to.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, inbox: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a JSON body.
    pub(crate) fn post(&mut self, path: &str, body: impl AsRef<str>) {
        self.send(request(path, body.as_ref()));
    }

    /// Sends a JSON body with a key.
    pub(crate) fn post_as(&mut self, key: &str, path: &str, body: impl AsRef<str>) {
        let with_key = format!("Host: test\r\nAuthorization: Bearer {key}\r\n");
        self.send(request(path, body.as_ref()).replacen("Host: test\r\n", &with_key, 1));
    }

    /// Sends a request with a key and without a body.
    pub(crate) fn get_as(&mut self, key: &str, path: &str) {
        self.send(format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {key}\r\n\r\n"
        ));
    }

    /// Sends a request without a body.
    pub(crate) fn get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
    }

    /// Receives a head.
    pub(crate) fn head(&mut self) -> Head {
        let raw = self.until(b"\r\n\r\n");
        let raw = String::from_utf8(raw).unwrap().trim_end().to_owned();
        let status = raw.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.unwrap_or_else(|| panic!("no head: {raw:?}")).parse().unwrap();
        Head { status, raw }
    }

    /// Receives a head and its whole body.
    pub(crate) fn answer(&mut self) -> Answer {
        let head = self.head();
        let body = match head.header("content-length") {
            Some(length) => self.exactly(length.parse().unwrap()),
            None => std::iter::from_fn(|| self.chunk()).flatten().collect(),
        };
        Answer { head, body: String::from_utf8(body).unwrap() }
    }

    /// Receives one chunk of a chunked body; `None` is its end.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = String::from_utf8(self.until(b"\r\n")).unwrap();
        let length = usize::from_str_radix(line.trim_end(), 16).expect("a chunk's length");
        let mut chunk = self.exactly(length + 2);
        assert!(chunk.ends_with(b"\r\n"));
        chunk.truncate(length);
        (length > 0).then_some(chunk)
    }

    /// Receives the next event's data; `None` is the end of the stream. The server sends each event
    /// as one chunk. Comments are passed over.
    pub(crate) fn event(&mut self) -> Option<String> {
        loop {
            let chunk = String::from_utf8(self.chunk()?).unwrap();
            let event = chunk.strip_suffix("\n\n").expect("one whole event");
            if let Some(data) = event.strip_prefix("data: ") {
                return Some(data.to_owned());
            }
            assert_eq!(event, ": keep-alive");
        }
    }

    /// Receives what is left of a stream: the data of each event.
    pub(crate) fn events(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.event()).collect()
    }

    /// Receives until the server closes, by FIN or by RST.
    pub(crate) fn until_closed(&mut self) -> Vec<u8> {
        while self.receive() {}
        std::mem::take(&mut self.inbox)
    }

    /// Leaves. After a FIN the socket is still there while the test holds what comes back, because
    /// closing it over unread bytes would send an RST as well.
    #[must_use]
    pub(crate) fn leave(self, how: Leave) -> Option<TcpStream> {
        match how {
            Leave::Fin => {
                self.stream.shutdown(Shutdown::Write).unwrap();
                Some(self.stream)
            }
            Leave::Rst => {
                // Closing at once throws away what is unsent, and tells the peer so.
                SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
                None
            }
        }
    }

    fn until(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            let found = self.inbox.windows(mark.len()).position(|window| window == mark);
            if let Some(at) = found {
                return self.inbox.drain(..at + mark.len()).collect();
            }
            assert!(self.receive(), "closed after {:?}", String::from_utf8_lossy(&self.inbox));
        }
    }

    fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.inbox.len() < length {
            assert!(self.receive(), "closed after {:?}", String::from_utf8_lossy(&self.inbox));
        }
        self.inbox.drain(..length).collect()
    }

    /// Receives something; `false` when the server has closed.
    fn receive(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(length) => {
                self.inbox.extend_from_slice(&buffer[..length]);
                length > 0
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&self.inbox)),
        }
    }
}

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leave {
    Fin,
    Rst,
}

/// A JSON request as bytes.
pub(crate) fn request(path: &str, body: &str) -> String {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json");
    format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}")
}
