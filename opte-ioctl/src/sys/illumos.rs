// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The device `/dev/xde` of the kernel module: one ioctl for each request, see [`opte_api::ioctl`].
//!
//! A port's link is a data link, and the numbers of data links come from dlmgmtd(8). So before a
//! port is made its name gets a number here, and after it is deleted the number goes back; the
//! module asks for it by name. A number that another program left behind is used; one that was made
//! here is given back when the engine refuses the port.

use crate::{Error, error::undecodable};
use opte_api::OpteError;
use opte_api::frame::{HEADER_LEN, Header, MAX_RESPONSE, Request, Status, decode};
use opte_api::ioctl::{COMMAND, Exchange, MIN_ROOM};
use oxide_vpc_api::PortName;
use oxide_vpc_api::dump::CounterSet;
use oxide_vpc_api::request::{CreatePort, DeletePort};
use std::ffi::{CString, c_char, c_int, c_void};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::ptr::{NonNull, null_mut};

/// The module's control node.
const DEVICE: &str = "/dev/xde";

/// What to do when there is no such node.
pub(crate) const ABSENT: &str = "is the driver installed? See add_drv(8) and devfsadm(8)";

pub(crate) fn default_path() -> PathBuf {
    DEVICE.into()
}

/// From the kernel's statistics.
pub(crate) fn public_counters(port: Option<&PortName>) -> Option<Result<Vec<CounterSet>, Error>> {
    super::kstat::counters(port)
}

#[derive(Debug)]
pub(crate) struct Link(File);

impl Link {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        File::options().read(true).write(true).open(path).map(Self)
    }

    pub(crate) fn exchange(
        &mut self,
        request: &[u8],
        room: usize,
    ) -> Result<(Header, Vec<u8>), Error> {
        match code_and_body(request) {
            Some((CreatePort::CODE, body)) => self.create_port(request, body),
            Some((DeletePort::CODE, body)) => self.delete_port(request, body),
            _ => self.ask(request, room),
        }
    }

    fn create_port(&mut self, request: &[u8], body: &[u8]) -> Result<(Header, Vec<u8>), Error> {
        let port: CreatePort = decode(body).map_err(Error::NotSent)?;
        let links = DataLinks::open()?;
        let made = links.make(port.name.as_str())?;
        let (header, answer) = self.ask(request, 0)?;
        if let Some(number) = made.filter(|_| header.code == Status::Refused as u16) {
            links.remove(number)?;
        }
        Ok((header, answer))
    }

    fn delete_port(&mut self, request: &[u8], body: &[u8]) -> Result<(Header, Vec<u8>), Error> {
        let port: DeletePort = decode(body).map_err(Error::NotSent)?;
        let links = DataLinks::open()?;
        let number = links.find(port.name.as_str())?;
        let (header, answer) = self.ask(request, 0)?;
        if let Some(number) = number.filter(|_| header.code == Status::Done as u16) {
            links.remove(number)?;
        }
        Ok((header, answer))
    }

    /// Sends a frame, once. An answer for which there is too little room waits in the module.
    fn ask(&self, request: &[u8], room: usize) -> Result<(Header, Vec<u8>), Error> {
        let too_long = |_| Error::NotSent(OpteError::invalid("request", "over 4 GiB"));
        let request_len = u32::try_from(request.len()).map_err(too_long)?;
        let most = HEADER_LEN as u32 + MAX_RESPONSE;
        let room = u32::try_from(room).unwrap_or(most).clamp(MIN_ROOM, most);
        let mut answer = vec![0_u8; room as usize];
        let exchange = Exchange {
            request: request.as_ptr().expose_provenance() as u64,
            request_len,
            answer: answer.as_mut_ptr().expose_provenance() as u64,
            room,
            answer_len: 0,
        };
        let mut argument = exchange.to_bytes();
        // SAFETY: the argument says where `request` and `answer` are and how long; both live until
        // after the call, and the device reads and writes no more than that.
        let done = unsafe {
            libc::ioctl(self.0.as_raw_fd(), COMMAND, argument.as_mut_ptr().cast::<c_void>())
        };
        if done != 0 {
            return Err(io::Error::last_os_error().into());
        }
        answer.truncate(Exchange::from_bytes(&argument).map_or(0, |told| told.answer_len as usize));
        split(&answer)
    }
}

fn code_and_body(frame: &[u8]) -> Option<(u16, &[u8])> {
    let (head, body) = frame.split_first_chunk::<HEADER_LEN>()?;
    Some((Header::from_bytes(*head, u32::MAX).ok()?.code, body))
}

fn split(answer: &[u8]) -> Result<(Header, Vec<u8>), Error> {
    let (head, body) = answer.split_first_chunk::<HEADER_LEN>().ok_or(Error::Closed)?;
    let header = Header::from_bytes(*head, MAX_RESPONSE).map_err(undecodable)?;
    if header.len as usize == body.len() { Ok((header, body.to_vec())) } else { Err(Error::Closed) }
}

/// `datalink_class_t`: a link of no other class.
const DATALINK_CLASS_MISC: u32 = 0x400;
/// Kind of link: Ethernet.
const DL_ETHER: u32 = 4;
/// Until the next boot, as ports are.
const DLADM_OPT_ACTIVE: u32 = 1;
/// `dladm_status_t`: done.
const DLADM_STATUS_OK: c_int = 0;
/// `dladm_status_t`: there is no such link.
const DLADM_STATUS_NOTFOUND: c_int = 5;
/// `dladm_status_t`: there is such a link already.
const DLADM_STATUS_EXIST: c_int = 8;

#[link(name = "dladm")]
unsafe extern "C" {
    fn dladm_open(handle: *mut *mut c_void) -> c_int;
    fn dladm_close(handle: *mut c_void);
    fn dladm_create_datalink_id(
        handle: *mut c_void,
        name: *const c_char,
        class: u32,
        media: u32,
        flags: u32,
        number: *mut u32,
    ) -> c_int;
    fn dladm_destroy_datalink_id(handle: *mut c_void, number: u32, flags: u32) -> c_int;
    fn dladm_name2info(
        handle: *mut c_void,
        name: *const c_char,
        number: *mut u32,
        flags: *mut u32,
        class: *mut u32,
        media: *mut u32,
    ) -> c_int;
}

/// Numbers of data links.
struct DataLinks(NonNull<c_void>);

fn refused(what: &str, name: &str, status: c_int) -> Error {
    Error::NotSent(OpteError::System(format!(
        "{what} data link '{name}': libdladm status {status}"
    )))
}

impl DataLinks {
    fn open() -> Result<Self, Error> {
        let mut handle = null_mut();
        // SAFETY: a place for the handle.
        let status = unsafe { dladm_open(&mut handle) };
        let handle = NonNull::new(handle).filter(|_| status == DLADM_STATUS_OK);
        handle.map(Self).ok_or_else(|| refused("reaching dlmgmtd for", "", status))
    }

    /// A number for a new link of this name; `None` if there is one already.
    fn make(&self, name: &str) -> Result<Option<u32>, Error> {
        let text =
            CString::new(name).map_err(|_| refused("naming", name, DLADM_STATUS_NOTFOUND))?;
        let (class, media, flags) = (DATALINK_CLASS_MISC, DL_ETHER, DLADM_OPT_ACTIVE);
        let mut number = 0;
        // SAFETY: open; the name ends with NUL.
        let status = unsafe {
            let handle = self.0.as_ptr();
            dladm_create_datalink_id(handle, text.as_ptr(), class, media, flags, &mut number)
        };
        match status {
            DLADM_STATUS_OK => Ok(Some(number)),
            DLADM_STATUS_EXIST => Ok(None),
            status => Err(refused("making", name, status)),
        }
    }

    /// The number of the link of this name, if it is one of ours.
    fn find(&self, name: &str) -> Result<Option<u32>, Error> {
        let text =
            CString::new(name).map_err(|_| refused("naming", name, DLADM_STATUS_NOTFOUND))?;
        let (mut number, mut class) = (0, 0);
        // SAFETY: open; the name ends with NUL; null for what is of no interest.
        let status = unsafe {
            let (handle, nobody) = (self.0.as_ptr(), null_mut());
            dladm_name2info(handle, text.as_ptr(), &mut number, nobody, &mut class, null_mut())
        };
        match status {
            DLADM_STATUS_OK => Ok((class == DATALINK_CLASS_MISC).then_some(number)),
            DLADM_STATUS_NOTFOUND => Ok(None),
            status => Err(refused("looking for", name, status)),
        }
    }

    /// Gives a number back. The request has been carried out or refused; what is left is a name
    /// without a link.
    fn remove(&self, number: u32) -> Result<(), Error> {
        // SAFETY: open.
        let status =
            unsafe { dladm_destroy_datalink_id(self.0.as_ptr(), number, DLADM_OPT_ACTIVE) };
        if status == DLADM_STATUS_OK {
            return Ok(());
        }
        let why = format!("data link number {number} cannot be removed: libdladm status {status}");
        Err(Error::Io(io::Error::other(why)))
    }
}

impl Drop for DataLinks {
    fn drop(&mut self) {
        // SAFETY: opened once, closed once.
        unsafe { dladm_close(self.0.as_ptr()) };
    }
}
