//! iceoryx2: publish and subscribe, samples loaned and filled in place, nothing overwritten.

use crate::channel::{AcrossProcesses, Failure, Receiver, Sender, System, capacity};
use crate::payload::{Payload, fill_uninit};
use crate::place::Place;
use crate::run::Measure;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::port::update_connections::UpdateConnections;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;
use std::hint::spin_loop;

type Ipc = ipc::Service;

/// A service with one publisher and one subscriber that polls.
#[derive(Debug)]
pub(crate) struct Iceoryx2;

impl System for Iceoryx2 {
    const NAME: &'static str = "iceoryx2";
    const ABOUT: &'static str = "iceoryx2, publish-subscribe, no overflow, the subscriber polls";
    const MEASURES: &'static [Measure] = &[Measure::Roundtrip, Measure::Stream, Measure::Attach];
}

// SAFETY: bytes without pointers, the same for every process.
unsafe impl<const N: usize> ZeroCopySend for Payload<N> {}

/// A publisher, and what it belongs to.
#[derive(Debug)]
pub(crate) struct Writer<const N: usize> {
    port: Publisher<Ipc, Payload<N>, ()>,
    _node: Node<Ipc>,
}

/// A subscriber, and what it belongs to.
#[derive(Debug)]
pub(crate) struct Reader<const N: usize> {
    port: Subscriber<Ipc, Payload<N>, ()>,
    _node: Node<Ipc>,
}

impl<const N: usize> Sender<N> for Writer<N> {
    fn meet(&mut self) -> Result<(), Failure> {
        Ok(self.port.update_connections()?)
    }

    #[inline(always)]
    fn send(&mut self, n: u64) -> Result<(), Failure> {
        let mut sample = self.port.loan_uninit()?;
        fill_uninit(sample.payload_mut(), n);
        // SAFETY: it was filled just now.
        unsafe { sample.assume_init() }.send()?;
        Ok(())
    }
}

impl<const N: usize> Receiver<N> for Reader<N> {
    fn meet(&mut self) -> Result<(), Failure> {
        Ok(self.port.update_connections()?)
    }

    #[inline(always)]
    fn recv<R>(&mut self, read: impl FnOnce(&[u8; N]) -> R) -> Result<R, Failure> {
        loop {
            if let Some(sample) = self.port.receive()? {
                return Ok(read(&sample.payload().0));
            }
            spin_loop();
        }
    }
}

/// A node whose files have names that are swept when the run is over.
fn node(place: &Place) -> Result<Node<Ipc>, Failure> {
    set_log_level(LogLevel::Error);
    let mut config = Config::default();
    config.global.prefix = FileName::new(format!("{}_", place.run()).as_bytes())?;
    config.global.set_root_path(&Path::new(format!("/dev/shm/{}/iceoryx2", place.run()).as_bytes())?);
    Ok(NodeBuilder::new().config(&config).create::<Ipc>()?)
}

fn service<const N: usize>(
    node: &Node<Ipc>,
    place: &Place,
) -> Result<PortFactory<Ipc, Payload<N>, ()>, Failure> {
    let name = ServiceName::new(&place.name())?;
    Ok(node
        .service_builder(&name)
        .publish_subscribe::<Payload<N>>()
        .enable_safe_overflow(false)
        .subscriber_max_buffer_size(capacity(N))
        .open_or_create()?)
}

impl<const N: usize> AcrossProcesses<N> for Iceoryx2 {
    type Sender = Writer<N>;
    type Receiver = Reader<N>;

    /// The first node that uses the service makes it.
    fn create(_place: &Place) -> Result<(), Failure> {
        Ok(())
    }

    fn sender(place: &Place) -> Result<Writer<N>, Failure> {
        let node = node(place)?;
        let port = service(&node, place)?
            .publisher_builder()
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()?;
        Ok(Writer { port, _node: node })
    }

    fn receiver(place: &Place) -> Result<Reader<N>, Failure> {
        let node = node(place)?;
        let port = service(&node, place)?.subscriber_builder().buffer_size(capacity(N)).create()?;
        Ok(Reader { port, _node: node })
    }
}
