// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! A Unix stream socket, on which the `xde` process listens.

use super::exchange;
use crate::Error;
use opte_api::frame::Header;
use oxide_vpc_api::PortName;
use oxide_vpc_api::dump::CounterSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the process listens.
const SOCKET: &str = "/run/xde.sock";
/// Environment variable that names another place.
const SOCKET_VARIABLE: &str = "XDE_SOCKET";
/// Longest silence within an exchange. The engine answers from memory; only making devices takes
/// longer than milliseconds.
const SILENCE: Duration = Duration::from_secs(30);

/// What to do when there is no socket.
pub(crate) const ABSENT: &str = "is the daemon running? Start it, or name its socket in XDE_SOCKET";

pub(crate) fn default_path() -> PathBuf {
    choose_path(std::env::var_os(SOCKET_VARIABLE))
}

fn choose_path(variable: Option<OsString>) -> PathBuf {
    variable.filter(|path| !path.is_empty()).map_or_else(|| SOCKET.into(), PathBuf::from)
}

/// The process alone knows its counters.
pub(crate) fn public_counters(_: Option<&PortName>) -> Option<Result<Vec<CounterSet>, Error>> {
    None
}

#[derive(Debug)]
pub(crate) struct Link(UnixStream);

impl Link {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::over(UnixStream::connect(path)?)
    }

    pub(crate) fn over(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        Ok(Self(stream))
    }

    /// A stream has room for every answer.
    pub(crate) fn exchange(
        &mut self,
        request: &[u8],
        _room: usize,
    ) -> Result<(Header, Vec<u8>), Error> {
        exchange::exchange(&mut self.0, request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_names_no_socket() {
        assert_eq!(choose_path(None), Path::new(SOCKET));
        assert_eq!(choose_path(Some("".into())), Path::new(SOCKET));
        assert_eq!(choose_path(Some("/tmp/x".into())), Path::new("/tmp/x"));
    }
}
