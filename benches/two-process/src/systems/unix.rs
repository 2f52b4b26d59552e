//! A Unix-domain socket of type SOCK_SEQPACKET, which keeps the borders between messages.

use crate::channel::{AcrossProcesses, Failure, Receiver, Sender, System};
use crate::payload::Payload;
use crate::place::Place;
use crate::run::Measure;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// A connected pair of sockets for each direction.
#[derive(Debug)]
pub(crate) struct Unix;

impl System for Unix {
    const NAME: &'static str = "unix";
    const ABOUT: &'static str = "a Unix-domain socket, SOCK_SEQPACKET";
    const MEASURES: &'static [Measure] = &[Measure::Roundtrip, Measure::Stream, Measure::Wake];
}

/// The side that connects.
#[derive(Debug)]
pub(crate) struct Caller {
    socket: OwnedFd,
    address: libc::sockaddr_un,
}

/// The side that listens, until the other side has connected.
#[derive(Debug)]
pub(crate) struct Listener<const N: usize> {
    socket: OwnedFd,
    message: Payload<N>,
}

fn checked(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn address_len() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<libc::sockaddr_un>()).unwrap_or(0)
}

fn socket(place: &Place) -> Result<(OwnedFd, libc::sockaddr_un), Failure> {
    let mut address = libc::sockaddr_un { sun_family: 0, sun_path: [0; 108] };
    address.sun_family = libc::sa_family_t::try_from(libc::AF_UNIX)?;
    for (to, from) in address.sun_path.iter_mut().zip(place.file().as_os_str().as_bytes()) {
        *to = from.cast_signed() as libc::c_char;
    }
    // SAFETY: no pointers.
    let socket = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0) };
    checked(socket as libc::ssize_t)?;
    // SAFETY: a new descriptor, which no other value owns.
    Ok((unsafe { OwnedFd::from_raw_fd(socket) }, address))
}

impl<const N: usize> Sender<N> for Caller {
    fn meet(&mut self) -> Result<(), Failure> {
        // SAFETY: the address is ours and as long as said.
        let result = unsafe {
            libc::connect(self.socket.as_raw_fd(), (&raw const self.address).cast(), address_len())
        };
        checked(result as libc::ssize_t)?;
        Ok(())
    }

    #[inline(always)]
    fn send(&mut self, n: u64) -> Result<(), Failure> {
        let message = Payload::<N>::numbered(n);
        // SAFETY: the buffer has N bytes.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), message.0.as_ptr().cast(), N, 0) };
        if checked(sent)? == N { Ok(()) } else { Err("a packet was sent in part".into()) }
    }
}

impl<const N: usize> Receiver<N> for Listener<N> {
    fn meet(&mut self) -> Result<(), Failure> {
        let nobody = std::ptr::null_mut();
        // SAFETY: no address is asked for.
        let accepted = unsafe { libc::accept(self.socket.as_raw_fd(), nobody, nobody.cast()) };
        checked(accepted as libc::ssize_t)?;
        // SAFETY: a new descriptor, which no other value owns.
        self.socket = unsafe { OwnedFd::from_raw_fd(accepted) };
        Ok(())
    }

    #[inline(always)]
    fn recv<R>(&mut self, read: impl FnOnce(&[u8; N]) -> R) -> Result<R, Failure> {
        let message = &mut self.message.0;
        // SAFETY: the buffer has N bytes.
        let received = unsafe { libc::recv(self.socket.as_raw_fd(), message.as_mut_ptr().cast(), N, 0) };
        if checked(received)? != N {
            return Err(format!("a packet of {received} bytes came instead of {N}").into());
        }
        Ok(read(message))
    }
}

impl<const N: usize> AcrossProcesses<N> for Unix {
    type Sender = Caller;
    type Receiver = Listener<N>;

    /// The listener makes the socket's name.
    fn create(_place: &Place) -> Result<(), Failure> {
        Ok(())
    }

    fn sender(place: &Place) -> Result<Caller, Failure> {
        let (socket, address) = socket(place)?;
        Ok(Caller { socket, address })
    }

    fn receiver(place: &Place) -> Result<Listener<N>, Failure> {
        let (socket, address) = socket(place)?;
        // SAFETY: the address is ours and as long as said.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), address_len()) };
        checked(bound as libc::ssize_t)?;
        // SAFETY: no pointers.
        checked(unsafe { libc::listen(socket.as_raw_fd(), 1) } as libc::ssize_t)?;
        Ok(Listener { socket, message: Payload([0; N]) })
    }
}
