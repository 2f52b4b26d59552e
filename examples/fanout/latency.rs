//! Ping-pong: two processes, two rings, one message under way at a time.

use crate::common::{self, Failure};
use crate::place::Place;
use crate::process::Process;
use crate::readers::ECHO;
use crate::times::Times;
use slipring::{ConsumerOptions, Producer, RecvError, RingOptions};
use std::time::{Duration, Instant};

const WARM_UP: usize = 20_000;
const PATIENCE: Duration = Duration::from_millis(200);

/// Measures `count` round trips of 8 bytes; none if that is 0.
pub(crate) fn measure(place: &Place, count: usize) -> Result<Option<Times>, Failure> {
    if count == 0 {
        return Ok(None);
    }
    RingOptions::new(48, 64).durable(ECHO).create(place.file("ping"))?;
    RingOptions::new(48, 64).durable("ping").create(place.file("pong"))?;
    let mut ping = Producer::<[u8]>::open(place.file("ping"))?;
    let mut pong = ConsumerOptions::new().name("ping").durable(true).attach::<[u8]>(place.file("pong"))?;
    let mut echo = Process::start(ECHO, place)?;
    let mut times = Vec::with_capacity(count);
    for n in 0..WARM_UP + count {
        let start = Instant::now();
        ping.send(&n.to_le_bytes())?;
        let reply = loop {
            match pong.recv_timeout(PATIENCE) {
                Ok(message) => break usize::from_le_bytes(message[..].try_into()?),
                Err(RecvError::TimedOut(_)) if common::interrupted() => {
                    return Err("interrupted; every process has ended".into());
                }
                Err(RecvError::TimedOut(_)) => {
                    if let Some(status) = echo.early_end()? {
                        return Err(format!("the echo process ended early, {status}; run again").into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        };
        if reply != n {
            return Err(format!("ping {n} came back as {reply}; that is a bug").into());
        }
        if n >= WARM_UP {
            times.push(start.elapsed());
        }
        if common::interrupted() {
            return Err("interrupted; every process has ended".into());
        }
    }
    ping.close()?;
    Ok(Some(Times::new(times)))
}
