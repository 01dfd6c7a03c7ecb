//! The rows of the kept state: each a name and a value, all of them a function of the journal and
//! the configuration.

use std::fmt;

use weir_usage::ChannelId;

use crate::book::{Book, LaneKey};
use crate::chain::Past;
use crate::journal::entry::{Entry, Item, Note};

/// The name of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Where the stream of a relay process, by its epoch, goes on.
    Stream(u64),
    /// The last word on a tunnel.
    Tunnel(u128),
    /// A lane's totals, findings and best voucher.
    Lane(LaneKey),
    /// A usage root with its leaves, by its number.
    Anchor(u64),
    /// A transaction that was decided on.
    Intent(u64),
    /// What only grows.
    Counters,
    /// What the outbox knows beside its intents.
    Outbox,
}

/// A table of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// [`Key::Stream`]
    Streams,
    /// [`Key::Tunnel`]
    Tunnels,
    /// [`Key::Lane`]
    Lanes,
    /// [`Key::Anchor`]
    Anchors,
    /// [`Key::Intent`]
    Intents,
    /// [`Key::Counters`] and [`Key::Outbox`]
    Sums,
}

impl Table {
    /// In the order in which they are read.
    pub const ALL: [Self; 6] =
        [Self::Streams, Self::Tunnels, Self::Lanes, Self::Anchors, Self::Intents, Self::Sums];

    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::Tunnels => "tunnels",
            Self::Lanes => "lanes",
            Self::Anchors => "anchors",
            Self::Intents => "intents",
            Self::Sums => "sums",
        }
    }
}

impl Key {
    /// Where it is.
    pub fn table(&self) -> Table {
        match self {
            Self::Stream(_) => Table::Streams,
            Self::Tunnel(_) => Table::Tunnels,
            Self::Lane(_) => Table::Lanes,
            Self::Anchor(_) => Table::Anchors,
            Self::Intent(_) => Table::Intents,
            Self::Counters | Self::Outbox => Table::Sums,
        }
    }

    /// Its bytes within the table; they sort as the key does.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Stream(number) | Self::Anchor(number) | Self::Intent(number) => {
                number.to_be_bytes().to_vec()
            }
            Self::Tunnel(id) => id.to_be_bytes().to_vec(),
            Self::Lane(key) => [&key.channel.0[..], &key.lane.to_be_bytes()].concat(),
            Self::Counters => b"counters".to_vec(),
            Self::Outbox => b"outbox".to_vec(),
        }
    }

    /// The key with these bytes; `None` if there is no such key.
    pub fn of(table: Table, bytes: &[u8]) -> Option<Self> {
        let number = || bytes.try_into().ok().map(u64::from_be_bytes);
        Some(match table {
            Table::Streams => Self::Stream(number()?),
            Table::Tunnels => Self::Tunnel(u128::from_be_bytes(bytes.try_into().ok()?)),
            Table::Lanes => {
                let (channel, lane) = bytes.split_first_chunk()?;
                let lane = u32::from_be_bytes(lane.try_into().ok()?);
                Self::Lane(LaneKey { channel: ChannelId(*channel), lane })
            }
            Table::Anchors => Self::Anchor(number()?),
            Table::Intents => Self::Intent(number()?),
            Table::Sums => match bytes {
                b"counters" => Self::Counters,
                b"outbox" => Self::Outbox,
                _ => return None,
            },
        })
    }

    /// The row's value; `None` if there is no such row.
    pub fn value(&self, book: &Book, past: &Past) -> Option<Vec<u8>> {
        match self {
            Self::Stream(epoch) => book.stream_row(*epoch),
            Self::Tunnel(id) => book.tunnel_row(*id),
            Self::Lane(key) => book.lane_row(key),
            Self::Anchor(number) => book.anchor_row(*number),
            Self::Intent(id) => past.intent_row(*id),
            Self::Counters => Some(book.counters_row()),
            Self::Outbox => Some(past.rest_row()),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(epoch) => write!(f, "stream {epoch}"),
            Self::Tunnel(id) => write!(f, "tunnel {id:032x}"),
            Self::Lane(key) => write!(f, "lane {} of channel {}", key.lane, key.channel),
            Self::Anchor(number) => write!(f, "usage root {number}"),
            Self::Intent(id) => write!(f, "intent {id}"),
            Self::Counters => f.write_str("counters"),
            Self::Outbox => f.write_str("outbox"),
        }
    }
}

/// All keys.
pub fn keys<'a>(book: &'a Book, past: &'a Past) -> impl Iterator<Item = Key> + 'a {
    book.streams()
        .map(Key::Stream)
        .chain(book.tunnel_ids().map(Key::Tunnel))
        .chain(book.lanes().keys().copied().map(Key::Lane))
        .chain((0..book.anchors().len() as u64).map(Key::Anchor))
        .chain(past.intents().map(|intent| Key::Intent(intent.id)))
        .chain([Key::Counters, Key::Outbox])
}

/// How many rows a table has.
pub fn count(table: Table, book: &Book, past: &Past) -> u64 {
    let count = match table {
        Table::Streams => book.streams().len(),
        Table::Tunnels => book.tunnels(),
        Table::Lanes => book.lanes().len(),
        Table::Anchors => book.anchors().len(),
        Table::Intents => past.intents().count(),
        Table::Sums => 2,
    };
    count as u64
}

/// Hands `change` the keys whose rows an entry may have changed; rows that vanish aren't among
/// them. `book` is the book after it.
pub fn changed(entry: &Entry, book: &Book, mut change: impl FnMut(Key)) {
    change(Key::Outbox);
    match &entry.item {
        Item::Record(record) => {
            change(Key::Stream(record.epoch));
            change(Key::Tunnel(record.tunnel));
            change(Key::Lane(LaneKey { channel: record.channel, lane: record.lane }));
            change(Key::Counters);
        }
        Item::Voucher(offer) => {
            let voucher = &offer.signed.voucher;
            change(Key::Lane(LaneKey { channel: voucher.channel, lane: voucher.lane }));
        }
        Item::Lane(opened) => {
            change(Key::Lane(LaneKey { channel: opened.channel, lane: opened.lane }));
        }
        Item::Note(Note::WrittenOff { channel, lane, .. }) => {
            change(Key::Lane(LaneKey { channel: *channel, lane: *lane }));
        }
        // They name no lane.
        Item::Note(Note::Waived { .. }) | Item::Uncarried(_) => {
            book.lanes().keys().for_each(|key| change(Key::Lane(*key)));
        }
        Item::Outbox(step) => change(Key::Intent(step.intent)),
        // Roots are only added, which the keeper sees by their number; neither book nor outbox is
        // about samples.
        Item::Anchor(_) | Item::Sample(_) | Item::Statement(_) | Item::Vouched(_) => {}
    }
}
