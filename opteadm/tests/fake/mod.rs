// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A host on a Unix socket that answers what it is told to, and the program run against it.

use opte_api::frame::{HEADER_LEN, Header, MAX_REQUEST, Request, decode};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread::{self, JoinHandle};

/// A host that waits for one request.
pub struct FakeHost {
    _folder: tempfile::TempDir,
    /// Where it listens.
    pub socket: PathBuf,
    served: JoinHandle<(u16, Vec<u8>)>,
}

impl FakeHost {
    /// Answers one request with these bytes and closes.
    pub fn answering(answer: Vec<u8>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("xde.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let served = thread::spawn(move || serve(listener.accept().unwrap().0, &answer));
        Self { _folder: folder, socket, served }
    }

    /// The request that came.
    pub fn request<R: Request>(self) -> R {
        let (code, body) = self.served.join().unwrap();
        assert_eq!(code, R::CODE);
        decode(&body).unwrap()
    }
}

fn serve(mut client: UnixStream, answer: &[u8]) -> (u16, Vec<u8>) {
    let mut head = [0; HEADER_LEN];
    client.read_exact(&mut head).unwrap();
    let header = Header::from_bytes(head, MAX_REQUEST).unwrap();
    let mut body = vec![0; header.len as usize];
    client.read_exact(&mut body).unwrap();
    client.write_all(answer).unwrap();
    (header.code, body)
}

/// What the program did.
#[derive(Debug)]
pub struct Ran {
    /// Exit status.
    pub status: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// The program with these words (split at white space) and no socket in its environment.
pub fn program(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_opteadm"));
    command.args(words.split_whitespace()).env_remove("XDE_SOCKET").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub fn run(command: &mut Command, input: &str) -> Ran {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    // A program that is told wrong arguments ends before it reads.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    Ran {
        status: status.code().unwrap(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}
