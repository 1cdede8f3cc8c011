// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Where a command meets the world: the engine it asks, what it reads, what it writes.

use crate::render::Show;
use opte_ioctl::{Error, OpteHdl, Request};
use oxide_vpc_api::PortName;
use oxide_vpc_api::dump::CounterSet;
use oxide_vpc_api::request::DumpCounters;
use std::io::{BufRead, Write};
use std::path::PathBuf;

/// Whoever answers requests.
pub trait Xde {
    /// Sends one request and waits for its answer.
    fn request<R: Request>(&mut self, request: &R) -> Result<R::Response, Error>;

    /// The counters of a port, or of the host and all ports.
    fn counters(&mut self, port: Option<PortName>) -> Result<Vec<CounterSet>, Error> {
        self.request(&DumpCounters { port })
    }
}

/// The engine of this host. It is reached when it is asked, so that wrong arguments are told
/// before a missing daemon is.
pub struct Reached {
    /// Its socket, where it is not the usual one.
    pub socket: Option<PathBuf>,
}

impl Xde for Reached {
    fn request<R: Request>(&mut self, request: &R) -> Result<R::Response, Error> {
        let mut handle = match &self.socket {
            Some(path) => OpteHdl::open_at(path)?,
            None => OpteHdl::open()?,
        };
        handle.request(request)
    }

    /// From where they are public, which asks for no privilege, unless an engine is named.
    fn counters(&mut self, port: Option<PortName>) -> Result<Vec<CounterSet>, Error> {
        let public = opte_ioctl::public_counters(port.as_ref()).filter(|_| self.socket.is_none());
        public.unwrap_or_else(|| self.request(&DumpCounters { port }))
    }
}

/// How answers and errors are shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// For people.
    Table,
    /// For programs: one line of JSON.
    Json,
}

impl Form {
    /// What went wrong, as a line.
    pub fn complaint(self, error: &str) -> String {
        match self {
            Self::Table => format!("opteadm: {error}\n"),
            Self::Json => format!("{}\n", serde_json::json!({ "error": error })),
        }
    }

    /// Tells standard error what went wrong.
    pub fn report(self, error: &str) {
        eprint!("{}", self.complaint(error));
    }
}

/// All that a command may touch.
pub struct Console<'a, X> {
    /// Who is asked.
    pub xde: &'a mut X,
    /// How the answer is shown.
    pub form: Form,
    /// Standard input.
    pub input: &'a mut dyn BufRead,
    /// Standard output.
    pub out: &'a mut dyn Write,
}

impl<X: Xde> Console<'_, X> {
    /// Asks, and shows the answer as it came.
    pub fn ask<R>(&mut self, request: &R) -> anyhow::Result<()>
    where
        R: Request<Response: Show>,
    {
        let answer = self.xde.request(request)?;
        self.show(&answer)
    }

    /// Shows an answer.
    pub fn show(&mut self, answer: &impl Show) -> anyhow::Result<()> {
        match self.form {
            Form::Table => answer.write_table(self.out)?,
            Form::Json => {
                answer.write_json(self.out)?;
                writeln!(self.out)?;
            }
        }
        Ok(())
    }
}
