//! The listener: its settings, and the table of routes.

use std::any::Any;
use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, Data, PathConfig, ServiceConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, Resource, Route, guard};
use runtime::{Handle, Worker};
use socket2::SockRef;

use crate::Config;
use crate::access::track;
use crate::openai::{ApiError, ChatWire, CompletionWire, create, models};
use crate::ops::reload::{Reloader, reload};
use crate::ops::responses::Responses;
use crate::ops::{health, metrics};

/// What every handler of one worker thread knows.
pub(crate) struct Edge {
    pub(crate) config: Config,
    pub(crate) handle: Handle,
    pub(crate) responses: Responses,
    /// Who reads the configuration again.
    pub(crate) reloader: Reloader,
    /// This thread's own way into the runtime.
    pub(crate) worker: Worker,
}

impl Edge {
    /// Tokens in the vocabulary, once an engine is there.
    pub(crate) fn vocab(&self) -> Option<u32> {
        self.handle.engine_info().map(|info| info.vocab)
    }
}

/// Bytes of a response that wait for the socket before its body is asked for no more. Small, so
/// that what a slow reader does not take merges in the runtime instead of piling up here.
const WRITE_BUFFER_BYTES: usize = 16 << 10;

/// The kernel's part of the same.
const SOCKET_BUFFER_BYTES: usize = 64 << 10;

/// Opens the listening socket. The server runs when the future that comes back is polled, on
/// threads of its own; it heeds no signals, so whoever holds it decides when it stops. Whoever
/// holds the other end of `reloader` answers `/admin/reload`.
///
/// # Errors
/// Those of resolving the host and binding the port.
pub fn bind(
    config: Config,
    handle: Handle,
    reloader: Reloader,
) -> io::Result<(Server, Vec<SocketAddr>)> {
    let Config { head_timeout_ms, idle_timeout_ms, shutdown_timeout_ms, .. } = config;
    let unread_timeout = Duration::from_millis(config.unread_timeout_ms);
    let address = (config.host.clone(), config.port);
    let workers = match config.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        given => given,
    };
    let responses = Responses::registered(&handle.telemetry());
    let server = HttpServer::new(move || {
        let edge = Edge {
            config: config.clone(),
            handle: handle.clone(),
            responses: responses.clone(),
            reloader: reloader.clone(),
            worker: handle.worker(),
        };
        // A path that does not decode names nothing.
        let paths = PathConfig::default()
            .error_handler(|_, request| ApiError::unknown_route(request.path()).into());
        App::new().app_data(Data::new(edge)).app_data(paths).configure(routes).wrap(from_fn(track))
    })
    .workers(workers)
    .on_connect(move |connection, _| bound_unread(connection, unread_timeout))
    // Otherwise a client that leaves is noticed only when something is written to it.
    .h1_allow_half_closed(false)
    // Otherwise a token waits for the acknowledgement of the one before.
    .tcp_nodelay(true)
    .h1_write_buffer_size(WRITE_BUFFER_BYTES)
    .client_request_timeout(Duration::from_millis(head_timeout_ms))
    .keep_alive(Duration::from_millis(idle_timeout_ms))
    .shutdown_timeout(shutdown_timeout_ms.div_ceil(1000))
    .disable_signals()
    // HTTP/1 only: over HTTP/2 a reset stream is noticed only at the next write.
    .bind(address)?;
    let addresses = server.addrs();
    Ok((server.run(), addresses))
}

/// Bounds what a client that reads nothing costs, in bytes and in time. While a response waits for
/// room in the socket, the connection is not read and has no timer, so that only the kernel can
/// close it; and the kernel's own idea of a buffer is megabytes of tokens that nobody takes.
fn bound_unread(connection: &dyn Any, timeout: Duration) {
    let Some(stream) = connection.downcast_ref::<TcpStream>() else { return };
    let socket = SockRef::from(stream);
    let bounded = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    if let Err(error) = bounded.and_then(|()| set_unread_timeout(&socket, timeout)) {
        tracing::warn!(%error, "a connection is not bounded in what its client leaves unread");
    }
}

#[cfg(target_os = "linux")]
fn set_unread_timeout(socket: &SockRef<'_>, timeout: Duration) -> io::Result<()> {
    socket.set_tcp_user_timeout(Some(timeout))
}

/// Other systems have no such timeout; there the connection stays until its client goes.
#[cfg(not(target_os = "linux"))]
fn set_unread_timeout(_socket: &SockRef<'_>, _timeout: Duration) -> io::Result<()> {
    Ok(())
}

fn routes(app: &mut ServiceConfig) {
    app.service(at("/v1/chat/completions", "POST").route(web::post().to(create::<ChatWire>)))
        .service(at("/v1/completions", "POST").route(web::post().to(create::<CompletionWire>)))
        .service(at("/v1/models", "GET, HEAD").route(reading().to(models::list)))
        .service(at("/v1/models/{id:.+}", "GET, HEAD").route(reading().to(models::show)))
        .service(at("/health", "GET, HEAD").route(reading().to(health::alive)))
        .service(at("/ready", "GET, HEAD").route(reading().to(health::ready)))
        .service(at("/metrics", "GET, HEAD").route(reading().to(metrics::show)))
        .service(at("/admin/reload", "POST").route(web::post().to(reload)))
        .default_service(web::to(async |request: HttpRequest| {
            Err::<HttpResponse, _>(ApiError::unknown_route(request.path()))
        }));
}

/// A path that refuses every method but those that are routed.
fn at(path: &str, allow: &'static str) -> Resource {
    let refuse = move || ready(Err::<HttpResponse, _>(ApiError::method_not_allowed(allow)));
    web::resource(path).default_service(web::to(refuse))
}

fn reading() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}
