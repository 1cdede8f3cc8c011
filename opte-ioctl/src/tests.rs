// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The handle against a host that behaves, and against hosts that do not.

use super::*;
use crate::sys::exchange;
use opte_api::frame::{HEADER_LEN, MAX_RESPONSE, encode_answer};
use oxide_vpc_api::request::{AddFwRule, ListPorts, SetUnderlay};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

/// A handle whose host does `serve` and then goes away.
fn handle(serve: impl FnOnce(UnixStream) + Send + 'static) -> OpteHdl {
    let (ours, theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || serve(theirs));
    OpteHdl { path: "/nowhere/xde.sock".into(), link: Some(Link::over(ours).unwrap()) }
}

/// Reads one request frame: its code and its body.
fn receive(host: &mut UnixStream) -> (u16, Vec<u8>) {
    let mut head = [0; HEADER_LEN];
    host.read_exact(&mut head).unwrap();
    let header = Header::from_bytes(head, frame::MAX_REQUEST).unwrap();
    let mut body = vec![0; header.len as usize];
    host.read_exact(&mut body).unwrap();
    (header.code, body)
}

/// The error of one request to a host that answers these bytes and closes.
fn error_after(bytes: Vec<u8>) -> Error {
    let mut xde = handle(move |mut host| {
        receive(&mut host);
        host.write_all(&bytes).unwrap();
    });
    xde.request(&ListPorts {}).unwrap_err()
}

fn answer_head(version: u16, code: u16, len: u32) -> Vec<u8> {
    Header { version, code, len }.to_bytes().into()
}

#[test]
fn requests_and_answers_travel_whole() {
    let links = vec!["x".repeat(40); 5_000];
    let request = SetUnderlay { links };
    let expected = request.clone();
    let mut xde = handle(move |mut host| {
        let (code, body) = receive(&mut host);
        assert_eq!(code, SetUnderlay::CODE);
        assert_eq!(frame::decode::<SetUnderlay>(&body), Ok(expected));
        host.write_all(&encode_answer(&Ok(()))).unwrap();
        receive(&mut host);
        host.write_all(&encode_answer(&Err::<u64, _>(OpteError::not_found("port", "opte9"))))
            .unwrap();
    });
    xde.request(&request).unwrap();

    let rule = "dir=in action=allow priority=1".parse().unwrap();
    let refused = xde.request(&AddFwRule { port: "opte9".parse().unwrap(), rule }).unwrap_err();
    assert!(matches!(&refused, Error::Refused(OpteError::NotFound { .. })), "{refused:?}");
    assert_eq!(refused.to_string(), "port 'opte9' does not exist");
    assert!(xde.link.is_some(), "a refusal keeps the connection");
}

/// A stream that gives one byte a call, and takes one.
struct Trickle {
    incoming: io::Cursor<Vec<u8>>,
    outgoing: Vec<u8>,
}

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = buffer.len().min(1);
        self.incoming.read(&mut buffer[..end])
    }
}

impl Write for Trickle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn short_reads_and_writes_are_put_together() {
    let answer = encode_answer(&Ok(vec![0xffee_ddccu32; 100]));
    let mut stream = Trickle { incoming: io::Cursor::new(answer.clone()), outgoing: Vec::new() };
    let (header, body) = exchange::exchange(&mut stream, b"a whole request").unwrap();
    assert_eq!([&header.to_bytes()[..], &body].concat(), answer);
    assert_eq!(stream.outgoing, b"a whole request");
}

#[test]
fn a_closed_peer_is_named_wherever_it_stops() {
    let whole = encode_answer(&Ok(vec![7u8; 100]));
    for cut in [0, 5, HEADER_LEN, HEADER_LEN + 50] {
        let error = error_after(whole[..cut].to_vec());
        assert!(matches!(error, Error::Closed), "{cut}: {error:?}");
    }
}

#[test]
fn answers_that_make_no_sense_are_told_from_refusals() {
    let garbage = vec![0; HEADER_LEN];
    let too_long = answer_head(API_VERSION, Status::Done as u16, MAX_RESPONSE + 1);
    let strange_status = answer_head(API_VERSION, 7, 0);
    let empty_refusal = answer_head(API_VERSION, Status::Refused as u16, 0);
    let other_type = encode_answer(&Ok(String::from("not a list of ports")));
    for (bytes, part) in [
        (garbage, "wrong magic number"),
        (too_long, "over the limit"),
        (strange_status, "its status is 7"),
        (empty_refusal, "cannot be read"),
        (other_type, "cannot be read"),
    ] {
        let error = error_after(bytes);
        assert!(matches!(error, Error::BadAnswer(_)), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn another_version_says_so_whatever_its_body_is() {
    let mut bytes = answer_head(API_VERSION + 1, Status::Done as u16, 3);
    bytes.extend_from_slice(b"new");
    let text = error_after(bytes).to_string();
    let other = API_VERSION + 1;
    let expected = format!(
        "client speaks API version {API_VERSION}, host serves {other} to {other}: \
         install matching versions"
    );
    assert_eq!(text, expected);
    // One that says which versions it serves is believed.
    let refusal = OpteError::BadApiVersion { client: API_VERSION, oldest: 7, newest: 9 };
    let bytes = frame::with_version(encode_answer::<()>(&Err(refusal.clone())), 9);
    assert_eq!(error_after(bytes).to_string(), refusal.to_string());
}

#[test]
fn an_early_refusal_is_heard_though_the_request_is_not_read() {
    // More than a socket buffers, so that the write fails half-way.
    let request = SetUnderlay { links: vec!["x".repeat(1000); 3_000] };
    let mut xde = handle(|mut host| {
        let refusal = OpteError::TooLarge { got: 3_000_000, limit: 1_000_000 };
        host.write_all(&encode_answer(&Err::<(), _>(refusal))).unwrap();
        host.shutdown(std::net::Shutdown::Read).unwrap();
    });
    let error = xde.request(&request).unwrap_err();
    assert!(matches!(error, Error::Refused(OpteError::TooLarge { .. })), "{error:?}");
}

#[test]
fn a_request_over_the_limit_is_not_sent() {
    let mut xde = handle(|_| ());
    let error = xde.request(&SetUnderlay { links: vec!["x".repeat(5 << 20)] }).unwrap_err();
    assert!(matches!(error, Error::NotSent(OpteError::TooLarge { .. })), "{error:?}");
    assert!(xde.link.is_some(), "the connection was not touched");
}

#[test]
fn after_a_failure_the_next_request_connects_anew() {
    let mut xde = handle(|mut host| {
        receive(&mut host);
    });
    assert!(matches!(xde.request(&ListPorts {}), Err(Error::Closed)));
    let error = xde.request(&ListPorts {}).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().starts_with("cannot reach xde at /nowhere/xde.sock: is the daemon"));
}

#[test]
fn silence_is_told_from_failure() {
    for (kind, timed_out) in [
        (io::ErrorKind::WouldBlock, true),
        (io::ErrorKind::TimedOut, true),
        (io::ErrorKind::OutOfMemory, false),
    ] {
        let error = Error::from(io::Error::from(kind));
        assert_eq!(matches!(error, Error::TimedOut), timed_out, "{error:?}");
        assert_eq!(matches!(error, Error::Io(_)), !timed_out, "{error:?}");
    }
}

#[test]
fn an_answer_that_did_not_fit_is_fetched() {
    let ports: Vec<oxide_vpc_api::dump::PortInfo> = Vec::new();
    let gone = OpteError::not_found("kept answer", 9);
    for (late, expected) in [
        (encode_answer(&Ok(ports)), "[]"),
        (encode_answer::<()>(&Err(gone)), "its answer is gone"),
        (encode_answer::<()>(&Err(OpteError::BadState("late".into()))), "not possible now: late"),
        (frame::encode_kept(Kept { ticket: 9, len: 1 }), "its status is 2"),
    ] {
        let mut xde = handle(move |mut host| {
            assert_eq!(receive(&mut host).0, ListPorts::CODE);
            host.write_all(&frame::encode_kept(Kept { ticket: 9, len: 500 })).unwrap();
            // Not the same command again.
            let (code, body) = receive(&mut host);
            assert_eq!((code, frame::decode(&body)), (frame::FETCH, Ok(Fetch { ticket: 9 })));
            host.write_all(&late).unwrap();
        });
        let text = match xde.request(&ListPorts {}) {
            Ok(answer) => format!("{answer:?}"),
            Err(error) => error.to_string(),
        };
        assert!(text.contains(expected), "{text}");
    }
}
