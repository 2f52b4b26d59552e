//! Serves one text over HTTP/1.1, to one client after another, none of whom can hold it up.

use crate::exit::{Failure, Outcome};
use crate::output;
use crate::signals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// What a client may take to ask, and then to take the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a request before its empty line, at most. No body is read.
const REQUEST_MAX: usize = 8192;

/// Answers every GET with `text`, until a signal comes.
pub(crate) fn serve(address: &str, text: impl Fn() -> String) -> Outcome {
    let cannot = |error: io::Error| Failure::error(format!("{address}: cannot listen: {error}"));
    let listener = TcpListener::bind(address).map_err(cannot)?;
    listener.set_nonblocking(true).map_err(cannot)?;
    output::note(&format!("serving http://{}/metrics", listener.local_addr().map_err(cannot)?));
    let slice = Timespec { tv_sec: 0, tv_nsec: i64::from(signals::SLICE.subsec_nanos()) };
    while !signals::interrupted() {
        let came = poll(&mut [PollFd::new(&listener, PollFlags::IN)], Some(&slice));
        if matches!(came, Ok(0) | Err(_)) {
            continue;
        }
        match listener.accept() {
            // What goes wrong with a client is its own affair.
            Ok((client, _)) => drop(answer(&client, &text)),
            // No descriptors are left, say: better times may come.
            Err(_) => std::thread::sleep(signals::SLICE),
        }
    }
    Ok(())
}

fn answer(mut client: &TcpStream, text: &impl Fn() -> String) -> io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(signals::SLICE))?;
    client.set_write_timeout(Some(signals::SLICE))?;
    let deadline = Instant::now() + PATIENCE;
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < REQUEST_MAX {
        let mut buffer = [0; 1024];
        match patiently(deadline, || client.read(&mut buffer))? {
            0 => return Ok(()),
            len => request.extend_from_slice(&buffer[..len]),
        }
    }
    let response = if request.starts_with(b"GET ") {
        let text = text();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        )
    } else {
        "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            .to_owned()
    };
    let (mut rest, deadline) = (response.as_bytes(), Instant::now() + PATIENCE);
    while !rest.is_empty() {
        let len = patiently(deadline, || client.write(rest))?;
        rest = &rest[len..];
    }
    Ok(())
}

/// Tries until it is done, or the time is up, or a signal comes.
fn patiently(deadline: Instant, mut attempt: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    while Instant::now() < deadline && !signals::interrupted() {
        match attempt() {
            Err(error) if matches!(error.kind(), Interrupted | TimedOut | WouldBlock) => {}
            other => return other,
        }
    }
    Err(TimedOut.into())
}
