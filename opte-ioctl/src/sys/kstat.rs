// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! Counters of the module from kstat(8), which asks for no privilege: `xde:0:host`, and for each
//! port `xde:NUMBER:NAME`. The MAC layer keeps statistics of the same links under the module's
//! name, too; they are told apart by what they count.

use crate::Error;
use kstat_rs::{Ctl, Data, Kstat, NamedData};
use opte_api::OpteError;
use oxide_vpc_api::PortName;
use oxide_vpc_api::dump::{Counter, CounterSet};
use std::io;

const MODULE: &str = "xde";
/// Name and instance of the host's own.
const HOST: (&str, i32) = ("host", 0);
/// What every port counts, and no link.
const OF_PORT: &str = "flow_limit";

fn failed(error: kstat_rs::Error) -> Error {
    Error::Io(match error {
        kstat_rs::Error::Io(error) => error,
        other => io::Error::other(other.to_string()),
    })
}

/// The counters of a port, or of the host and then all ports by name. `None` while the module is
/// not attached.
pub(super) fn counters(port: Option<&PortName>) -> Option<Result<Vec<CounterSet>, Error>> {
    let all = match Ctl::new().map_err(failed).and_then(|ctl| all(&ctl)) {
        Ok(all) => all,
        Err(error) => return Some(Err(error)),
    };
    if !all.iter().any(|set| set.port.is_none()) {
        return None;
    }
    let Some(wanted) = port else { return Some(Ok(all)) };
    let found = all.into_iter().find(|set| set.port.as_ref() == Some(wanted));
    Some(match found {
        Some(set) => Ok(vec![set]),
        None => Err(Error::NotSent(OpteError::not_found("port", wanted))),
    })
}

fn all(ctl: &Ctl) -> Result<Vec<CounterSet>, Error> {
    let mut sets = Vec::new();
    for mut kstat in ctl.filter(Some(MODULE), None, None) {
        match set(ctl, &mut kstat) {
            Ok(set) => sets.extend(set),
            // Its port was deleted meanwhile.
            Err(kstat_rs::Error::Io(error)) if error.raw_os_error() == Some(libc::ENXIO) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    sets.sort_unstable_by(|a, b| a.port.cmp(&b.port));
    Ok(sets)
}

/// One statistic, if it is one of ours.
fn set(ctl: &Ctl, kstat: &mut Kstat<'_>) -> Result<Option<CounterSet>, kstat_rs::Error> {
    let Data::Named(named) = ctl.read(kstat)? else { return Ok(None) };
    let mut counters = Vec::with_capacity(named.len());
    for it in named {
        let NamedData::UInt64(value) = it.value else { continue };
        counters.push(Counter { name: it.name.into(), value });
    }
    let port = match (kstat.ks_name, kstat.ks_instance) {
        HOST => None,
        (name, _) if counters.iter().any(|it| it.name == OF_PORT) => match name.parse() {
            Ok(name) => Some(name),
            Err(_) => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok(Some(CounterSet { port, counters }))
}
