//! The head of a request, and what of it a gateway does not see.

use h2::ext::Protocol;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Uri, header, request, uri};

use super::fault::Fault;
use super::fields;
use crate::error::Malformed;
use crate::gateway::Refused;
use crate::limits::Limits;
use crate::message::{Request, Version};

/// A head as it came.
pub(super) struct Head {
    method: Method,
    uri: Uri,
    fields: HeaderMap,
    protocol: Option<Protocol>,
}

impl Head {
    /// Takes a head, and gives what of it a gateway sees.
    pub(super) fn read(mut parts: request::Parts) -> (Self, Request) {
        let head = Self {
            protocol: parts.extensions.remove(),
            method: parts.method,
            uri: parts.uri,
            fields: parts.headers,
        };
        let host = || {
            let host = head.fields.get(header::HOST)?;
            host.to_str().ok().map(str::to_owned)
        };
        let authority = head.uri.authority().map(|a| a.as_str().to_owned());
        let request = Request {
            version: Version::Http2,
            method: head.method.as_str().to_owned(),
            target: head.target().to_owned(),
            authority: authority.or_else(host),
            fields: fields::read(&head.fields),
        };
        (head, request)
    }

    /// Why a head is not passed on, whatever a gateway says.
    pub(super) fn refused(&self, limits: &Limits) -> Option<(Refused, &'static str)> {
        let bad = |status, why: &'static str| Some((Refused::plain(status, why), why));
        let uri = self.uri.authority().map_or(0, |a| a.as_str().len()) + self.target().len();
        if self.fields.len() > limits.fields {
            return bad(431, "there are more fields than allowed");
        }
        if fields::size(&self.fields) + uri > limits.head {
            return bad(431, "the fields are larger than allowed");
        }
        if self.method == Method::CONNECT && self.protocol.is_none() {
            return bad(405, "CONNECT is not for this place");
        }
        match self.host() {
            Ok(()) => None,
            Err(Malformed::OtherHost) => bad(400, "the request names different hosts"),
            Err(_) => bad(400, "the request does not name one host"),
        }
    }

    /// Whether it asks for another protocol in its stream.
    pub(super) fn upgrades(&self) -> bool {
        self.protocol.is_some()
    }

    /// The head of a request as a gateway left it.
    pub(super) fn write(&self, request: &Request) -> Result<http::Request<()>, Fault> {
        let mut written = http::Request::new(());
        *written.method_mut() = if request.method == self.method.as_str() {
            self.method.clone()
        } else {
            let changed = Method::from_bytes(request.method.as_bytes());
            changed.map_err(|_| Fault::Change("the method cannot be written"))?
        };
        *written.headers_mut() = fields::write(&request.fields, &self.fields)?;
        let came = self.uri.authority().map(Authority::as_str);
        let host = || self.fields.get(header::HOST).map(|host| host.as_bytes());
        let authority = request.authority.as_deref();
        let same = authority.map(str::as_bytes) == came.map(str::as_bytes).or_else(host);
        if same && request.target == self.target() {
            *written.uri_mut() = self.uri.clone();
        } else {
            let had_authority = came.is_some() || host().is_none();
            *written.uri_mut() = self.uri(&request.target, authority.filter(|_| had_authority))?;
            if let (false, Some(_), Some(authority)) = (same, host(), authority) {
                let value = authority.try_into().map_err(|_| AUTHORITY)?;
                written.headers_mut().insert(header::HOST, value);
            }
        }
        // The codec takes a request without an authority only as one of HTTP/1 that is passed on.
        *written.version_mut() = match written.uri().authority() {
            Some(_) => http::Version::HTTP_2,
            None => http::Version::HTTP_11,
        };
        if let Some(protocol) = &self.protocol {
            written.extensions_mut().insert(protocol.clone());
        }
        Ok(written)
    }

    /// The pseudo-field `:path`.
    fn target(&self) -> &str {
        self.uri.path_and_query().map_or("", PathAndQuery::as_str)
    }

    /// The address of a changed request.
    fn uri(&self, target: &str, authority: Option<&str>) -> Result<Uri, Fault> {
        let mut parts = uri::Parts::default();
        if let Some(authority) = authority {
            parts.authority = Some(authority.parse().map_err(|_| AUTHORITY)?);
            // The codec dropped the scheme of a request without an authority.
            parts.scheme = Some(self.uri.scheme().cloned().unwrap_or(Scheme::HTTP));
        }
        parts.path_and_query = Some(target.parse().map_err(|_| TARGET)?);
        Uri::from_parts(parts).map_err(|_| TARGET)
    }

    /// Whether at most one host is named.
    fn host(&self) -> Result<(), Malformed> {
        let mut hosts = self.fields.get_all(header::HOST).iter();
        let first = hosts.next();
        if hosts.next().is_some() {
            return Err(Malformed::Host);
        }
        match (first, self.uri.authority()) {
            // Who is meant by a name with an `@` before it depends on the reader.
            (_, Some(authority)) if authority.as_str().contains('@') => Err(Malformed::Host),
            (None, _) => Ok(()),
            (Some(host), None) => host
                .to_str()
                .ok()
                .and_then(|host| host.parse::<Authority>().ok())
                .map_or(Err(Malformed::Host), |_| Ok(())),
            (Some(host), Some(authority)) => {
                let named = authority.as_str().as_bytes();
                let same = host.as_bytes().eq_ignore_ascii_case(named);
                if same {
                    Ok(())
                } else {
                    Err(Malformed::OtherHost)
                }
            }
        }
    }
}

const AUTHORITY: Fault = Fault::Change("the authority cannot be written");
const TARGET: Fault = Fault::Change("the target cannot be written");
