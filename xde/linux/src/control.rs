// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The Unix socket on which requests come, framed as [`opte_api::frame`] says.
//!
//! Any number of requests follow each other on a connection. Connections are served by threads of
//! their own, so that a slow or stuck client holds up neither packets nor other clients. What a
//! client can use up is bounded: [`MAX_CLIENTS`] connections, a request of
//! [`opte_api::frame::MAX_REQUEST`] bytes that are stored only as they arrive, [`PATIENCE`] for
//! each step of an exchange. Between requests a client may be silent for as long as it likes.
//!
//! The socket belongs to its owner alone (mode 0600), from the moment when it exists.

use crate::counters::{Counter, Counters};
use anyhow::{Context, bail};
use opte_api::OpteError;
use opte_api::frame::{HEADER_LEN, Header, MAX_REQUEST, encode_answer};
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Connections that are served at the same time.
pub const MAX_CLIENTS: usize = 64;
/// Longest wait for the next bytes of a request that has begun, or for room for its answer.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;
/// Pause after the system refused to accept, as when all file descriptors are in use.
const BREATH: Duration = Duration::from_millis(100);

/// Turns a request into its answer: whole frames, as [`opte_api::frame`] says.
pub trait Answer: Fn(Header, &[u8]) -> Vec<u8> + Send + Sync + 'static {}

impl<F: Fn(Header, &[u8]) -> Vec<u8> + Send + Sync + 'static> Answer for F {}

/// A server. Its socket's file is removed with it; connections live as long as the process.
#[derive(Debug)]
pub struct ControlServer {
    path: PathBuf,
}

impl ControlServer {
    /// Makes the socket and begins to serve.
    pub fn start(
        path: &Path,
        answer: impl Answer,
        counters: Arc<Counters>,
    ) -> anyhow::Result<Self> {
        let listener =
            listen(path).with_context(|| format!("control socket {}", path.display()))?;
        let desk = Arc::new(Desk { answer, counters, clients: AtomicUsize::new(0) });
        thread::Builder::new()
            .name("control".into())
            .spawn(move || desk.accept(&listener))
            .context("cannot start the control thread")?;
        Ok(Self { path: path.into() })
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// A listening socket at `path`. A socket there that nobody listens on any more is replaced.
fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        bail!("another process listens there: stop it, or choose another with --socket");
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
            std::fs::remove_file(path).context("cannot remove the socket of an earlier process")?;
        }
        Ok(_) => bail!("there is a file that is no socket: choose another with --socket"),
        Err(_) => {}
    }
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // The file is made with the mode of the socket, so there is no moment when others may connect.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)
        .context("cannot make it: does its folder exist, and may this user write there?")?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Where clients are served.
struct Desk<A> {
    answer: A,
    counters: Arc<Counters>,
    clients: AtomicUsize,
}

impl<A: Answer> Desk<A> {
    fn accept(self: Arc<Self>, listener: &UnixListener) {
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => self.clone().admit(stream),
                Err(error) => {
                    tracing::warn!("control socket: {error}");
                    thread::sleep(BREATH);
                }
            }
        }
    }

    fn admit(self: Arc<Self>, mut stream: UnixStream) {
        // Only this thread adds to the number.
        if self.clients.load(Ordering::Acquire) >= MAX_CLIENTS {
            self.counters.count(Counter::ControlRefused);
            let what = "control connections at the same time".into();
            let refusal = OpteError::Limit { what, limit: MAX_CLIENTS as u64 };
            let _ = stream.set_nonblocking(true).and_then(|()| refuse(&mut stream, refusal));
            return;
        }
        self.clients.fetch_add(1, Ordering::AcqRel);
        let desk = self.clone();
        let serve = move || {
            if let Err(error) = desk.serve(stream) {
                tracing::debug!("control client: {error}");
            }
            desk.clients.fetch_sub(1, Ordering::AcqRel);
        };
        if let Err(error) = thread::Builder::new().name("client".into()).spawn(serve) {
            tracing::warn!("control socket: {error}");
            self.clients.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Serves one client until it leaves, or says something that is no request.
    fn serve(&self, mut stream: UnixStream) -> io::Result<()> {
        stream.set_write_timeout(Some(PATIENCE))?;
        while let Some(head) = read_head(&mut stream)? {
            let header = match Header::from_bytes(head, MAX_REQUEST) {
                Ok(header) => header,
                Err(error) => {
                    // Where the next request would begin is not known.
                    self.counters.count(Counter::ControlBadMessages);
                    refuse(&mut stream, error)?;
                    return take_leave(stream);
                }
            };
            let mut body = Vec::new();
            (&mut stream).take(header.len.into()).read_to_end(&mut body)?;
            if body.len() < header.len as usize {
                self.counters.count(Counter::ControlBadMessages);
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.counters.count(Counter::ControlRequests);
            stream.write_all(&(self.answer)(header, &body))?;
        }
        Ok(())
    }
}

/// The next header; `None` if the client has left between requests.
fn read_head(stream: &mut UnixStream) -> io::Result<Option<[u8; HEADER_LEN]>> {
    let mut head = [0; HEADER_LEN];
    let [first, rest @ ..] = &mut head;
    stream.set_read_timeout(None)?;
    if stream.read(std::slice::from_mut(first))? == 0 {
        return Ok(None);
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.read_exact(rest)?;
    Ok(Some(head))
}

fn refuse(stream: &mut UnixStream, error: OpteError) -> io::Result<()> {
    stream.write_all(&encode_answer::<()>(&Err(error)))
}

/// Closes, after what the client is still saying: closing with bytes unread would make the system
/// tell the client of a reset, maybe before it has read its answer.
fn take_leave(mut stream: UnixStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    io::copy(&mut (&mut stream).take(MAX_REQUEST.into()), &mut io::sink()).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use opte_api::frame::{API_VERSION, MAX_RESPONSE, Status, decode_answer};

    /// An answer that repeats the body of the request.
    fn echo(_: Header, body: &[u8]) -> Vec<u8> {
        let len = body.len() as u32;
        let header = Header { version: API_VERSION, code: Status::Done as u16, len };
        [&header.to_bytes()[..], body].concat()
    }

    /// What a client gets back for these bytes, until the server closes.
    fn exchange(bytes: &[u8]) -> Vec<u8> {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let counters = Arc::default();
        let desk = Desk { answer: echo, counters, clients: AtomicUsize::new(0) };
        let server = thread::spawn(move || desk.serve(theirs));
        ours.write_all(bytes).unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        ours.read_to_end(&mut answer).unwrap();
        let _ = server.join().unwrap();
        answer
    }

    fn request(body: &[u8]) -> Vec<u8> {
        let header = Header { version: API_VERSION, code: 1, len: body.len() as u32 };
        [&header.to_bytes()[..], body].concat()
    }

    fn refusal(answer: &[u8]) -> OpteError {
        let (head, body) = answer.split_first_chunk().unwrap();
        let header = Header::from_bytes(*head, MAX_RESPONSE).unwrap();
        assert_eq!(body.len(), header.len as usize);
        decode_answer::<()>(header, body).unwrap_err()
    }

    #[test]
    fn requests_follow_each_other_on_a_connection() {
        let answer = exchange(&[request(b"one"), request(b""), request(b"three")].concat());
        let expected = [b"one".as_slice(), b"", b"three"];
        let header = Header { version: API_VERSION, code: 0, len: 0 };
        assert_eq!(answer, expected.map(|body| echo(header, body)).concat());
    }

    #[test]
    fn garbage_is_answered_and_ends_the_connection() {
        let answer = exchange(&[&[7; 40][..], &request(b"late")].concat());
        assert!(matches!(refusal(&answer), OpteError::BadRequest(_)));
    }

    #[test]
    fn too_large_is_answered_before_it_is_read() {
        let len = MAX_REQUEST + 1;
        let header = Header { version: API_VERSION, code: 1, len };
        let expected = OpteError::TooLarge { got: len, limit: MAX_REQUEST };
        assert_eq!(refusal(&exchange(&header.to_bytes())), expected);
    }

    #[test]
    fn a_cut_request_has_no_answer() {
        for len in 1..request(b"body").len() {
            assert_eq!(exchange(&request(b"body")[..len]), [0; 0], "{len} bytes");
        }
    }

    #[test]
    fn the_socket_is_private_and_replaces_only_a_dead_one() {
        use std::os::unix::fs::PermissionsExt;
        let dir = std::env::temp_dir().join(format!("xde-control-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("sock");
        let start = || ControlServer::start(&path, echo, Arc::default());
        drop(UnixListener::bind(&path).unwrap());
        let server = start().unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(start().is_err(), "a living one stays");
        drop(server);
        assert!(!path.exists());
        std::fs::write(&path, "a file").unwrap();
        assert!(start().is_err(), "a file stays");
        assert_eq!(std::fs::read(&path).unwrap(), b"a file");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
