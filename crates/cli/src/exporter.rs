//! Serves one text over HTTP/1.1, to many clients at a time. A slow client delays no other.

use crate::exit::{Failure, Outcome};
use crate::output;
use crate::signals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// The longest time for a client's request, and for taking the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a request before its empty line, at most. No body is read.
const REQUEST_MAX: usize = 8192;
/// Clients at a time. When one more comes, the one that came first has to go.
const CLIENTS_MAX: usize = 64;

/// Answers every GET and HEAD with `text`, until a signal comes.
pub(crate) fn serve(address: &str, text: impl Fn() -> String) -> Outcome {
    let cannot = |error: io::Error| Failure::error(format!("{address}: cannot listen: {error}"));
    let listener = TcpListener::bind(address).map_err(cannot)?;
    listener.set_nonblocking(true).map_err(cannot)?;
    output::note(&format!("serving http://{}/metrics", listener.local_addr().map_err(cannot)?));
    let slice = Timespec { tv_sec: 0, tv_nsec: i64::from(signals::SLICE.subsec_nanos()) };
    let mut clients: VecDeque<Client> = VecDeque::new();
    while !signals::interrupted() {
        let mut waiting = vec![PollFd::new(&listener, PollFlags::IN)];
        waiting.extend(clients.iter().map(|client| PollFd::new(&client.stream, client.waits_for())));
        // Every client gets a turn, whichever one has input.
        let _ = poll(&mut waiting, Some(&slice));
        clients.retain_mut(|client| client.stays(&text));
        match listener.accept() {
            Ok((stream, _)) => {
                if clients.len() == CLIENTS_MAX {
                    clients.pop_front();
                }
                // An error of one client ends that client only.
                clients.extend(Client::new(stream));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // No descriptor is free, for example: a later turn may find one.
            Err(_) => signals::sleep(signals::SLICE),
        }
    }
    Ok(())
}

/// A client: it sends a request, then takes the answer.
struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    /// Empty until the request is complete.
    response: Vec<u8>,
    sent: usize,
    deadline: Instant,
}

impl Client {
    fn new(stream: TcpStream) -> io::Result<Client> {
        stream.set_nonblocking(true)?;
        let deadline = Instant::now() + PATIENCE;
        Ok(Client { stream, request: Vec::new(), response: Vec::new(), sent: 0, deadline })
    }

    fn waits_for(&self) -> PollFlags {
        if self.response.is_empty() { PollFlags::IN } else { PollFlags::OUT }
    }

    /// Goes on as far as that takes no waiting. False if the client is served, is gone, or took too
    /// long.
    fn stays(&mut self, text: &impl Fn() -> String) -> bool {
        use io::ErrorKind::{Interrupted, WouldBlock};
        match self.go_on(text) {
            Err(error) if matches!(error.kind(), Interrupted | WouldBlock) => Instant::now() < self.deadline,
            _ => false,
        }
    }

    fn go_on(&mut self, text: &impl Fn() -> String) -> io::Result<()> {
        while self.response.is_empty() {
            let mut buffer = [0; 1024];
            match self.stream.read(&mut buffer)? {
                0 => return Ok(()),
                len => self.request.extend_from_slice(&buffer[..len]),
            }
            if self.request.windows(4).any(|end| end == b"\r\n\r\n") || self.request.len() >= REQUEST_MAX {
                self.response = respond(&self.request, text).into_bytes();
                self.deadline = Instant::now() + PATIENCE;
            }
        }
        while self.sent < self.response.len() {
            match self.stream.write(&self.response[self.sent..])? {
                0 => return Ok(()),
                len => self.sent += len,
            }
        }
        Ok(())
    }
}

fn respond(request: &[u8], text: &impl Fn() -> String) -> String {
    let is_head = request.starts_with(b"HEAD ");
    if !is_head && !request.starts_with(b"GET ") {
        return "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            .to_owned();
    }
    let text = text();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{}",
        text.len(),
        if is_head { "" } else { &text }
    )
}
