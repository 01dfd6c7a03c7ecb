//! Field sections of requests, as a client sends them.

use bytes::Bytes;

use crate::template::UriTemplate;
use crate::{Field, Target};

/// A TCP tunnel. `authorization` is the value of Proxy-Authorization, such as `Bearer abc`.
pub fn connect(target: &Target, authorization: Option<&str>) -> Vec<Field> {
    let mut fields = vec![
        Field::new(":method", Bytes::from_static(b"CONNECT")),
        Field::new(":authority", target.to_string()),
    ];
    push_authorization("proxy-authorization", authorization, &mut fields);
    fields
}

/// A UDP tunnel through the relay at `authority`.
pub fn connect_udp(
    authority: &str,
    template: &UriTemplate,
    target: &Target,
    authorization: Option<&str>,
) -> Vec<Field> {
    let mut fields = vec![
        Field::new(":method", Bytes::from_static(b"CONNECT")),
        Field::new(":protocol", Bytes::from_static(b"connect-udp")),
        Field::new(":scheme", Bytes::from_static(b"https")),
        Field::new(":authority", authority.to_owned()),
        Field::new(":path", template.expand(target)),
        Field::new("capsule-protocol", Bytes::from_static(b"?1")),
    ];
    push_authorization("proxy-authorization", authorization, &mut fields);
    fields
}

/// A resource of the relay's own.
pub fn resource(
    method: &str,
    authority: &str,
    path: &str,
    content_length: Option<u64>,
    authorization: Option<&str>,
) -> Vec<Field> {
    let mut fields = vec![
        Field::new(":method", method.to_owned()),
        Field::new(":scheme", Bytes::from_static(b"https")),
        Field::new(":authority", authority.to_owned()),
        Field::new(":path", path.to_owned()),
    ];
    if let Some(length) = content_length {
        fields.push(Field::new("content-length", length.to_string()));
    }
    push_authorization("authorization", authorization, &mut fields);
    fields
}

fn push_authorization(name: &'static str, value: Option<&str>, fields: &mut Vec<Field>) {
    fields.extend(value.map(|value| Field::new(name, value.to_owned())));
}
