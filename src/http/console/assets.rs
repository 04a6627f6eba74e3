//! The style sheet, the scripts and the icon: part of the binary, named by their content so that a browser keeps them for ever,
//! and compressed once. Nothing is fetched from anybody else.

use std::io::Write as _;
use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::super::caller::PathId;
use super::super::refusal::Refusal;
use crate::sys::sha256;

/// Name, media type and bytes of each.
const FILES: &[(&str, &str, &[u8])] = &[
    ("console.css", "text/css; charset=utf-8", include_bytes!("static/console.css")),
    ("console.js", "text/javascript; charset=utf-8", include_bytes!("static/console.js")),
    ("htmx.min.js", "text/javascript; charset=utf-8", include_bytes!("static/htmx.min.js")),
    ("hx-csp.min.js", "text/javascript; charset=utf-8", include_bytes!("static/hx-csp.min.js")),
    ("passkey.js", "text/javascript; charset=utf-8", include_bytes!("static/passkey.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("static/icon.svg")),
];

struct Asset {
    name: &'static str,
    /// The name with the first digits of its digest in it.
    lasting: String,
    path: String,
    media_type: HeaderValue,
    tag: HeaderValue,
    bytes: &'static [u8],
    zipped: Vec<u8>,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let asset = |(name, media_type, bytes): &(&'static str, &'static str, &'static [u8])| {
        let digest: String = data_encoding::HEXLOWER.encode(sha256(bytes).as_bytes()).chars().take(16).collect();
        let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
        let lasting = format!("{stem}.{digest}.{ending}");
        Asset {
            name,
            path: format!("/static/{lasting}"),
            lasting,
            media_type: HeaderValue::from_static(media_type),
            tag: HeaderValue::try_from(format!("\"{digest}\"")).unwrap_or(HeaderValue::from_static("\"\"")),
            bytes,
            zipped: zip(bytes, Compression::best()),
        }
    };
    FILES.iter().map(asset).collect()
});

/// Compressed by gzip (RFC 1952).
pub(super) fn zip(bytes: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 3), level);
    let written = encoder.write_all(bytes);
    written.and_then(|()| encoder.finish()).unwrap_or_default()
}

/// Where a file of ours is.
pub(super) fn path(name: &str) -> &'static str {
    ASSETS.iter().find(|asset| asset.name == name).map_or("/static/", |asset| asset.path.as_str())
}

/// Whether the caller takes gzip (RFC 9110 §12.5.3).
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let sent = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    sent.flat_map(|value| value.split(',')).any(|one| {
        let (coding, weight) = one.split_once(';').unwrap_or((one, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.trim_matches(['0', '.']).is_empty());
        matches!(coding.trim(), "gzip" | "*") && !refused
    })
}

/// A file, by its lasting name or its plain one; only the lasting one is kept without asking again.
pub(super) async fn read(PathId(file): PathId, headers: HeaderMap) -> Result<Response, Refusal> {
    let asset =
        ASSETS.iter().find(|asset| asset.lasting == file || asset.name == file).ok_or_else(Refusal::not_found)?;
    let kept = if asset.lasting == file { "public, max-age=31536000, immutable" } else { "public, no-cache" };
    let mut out = HeaderMap::new();
    out.insert(header::CONTENT_TYPE, asset.media_type.clone());
    out.insert(header::ETAG, asset.tag.clone());
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
    out.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if headers.get(header::IF_NONE_MATCH) == Some(&asset.tag) {
        return Ok((StatusCode::NOT_MODIFIED, out).into_response());
    }
    if takes_gzip(&headers) && !asset.zipped.is_empty() {
        out.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return Ok((out, asset.zipped.as_slice()).into_response());
    }
    Ok((out, asset.bytes).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, value.parse().unwrap());
        takes_gzip(&headers)
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        assert!(accepts("gzip, deflate, br") && accepts("br;q=1.0, gzip;q=0.8") && accepts("*"));
        assert!(!accepts("br") && !accepts("gzip;q=0") && !accepts("identity"));
    }

    #[test]
    fn every_vendored_file_is_the_one_its_provenance_names() {
        let provenance = include_str!("static/PROVENANCE.md");
        for (name, _, bytes) in FILES.iter().filter(|(name, ..)| name.ends_with(".min.js")) {
            let line = format!("{}  {name}", data_encoding::HEXLOWER.encode(sha256(bytes).as_bytes()));
            assert!(provenance.contains(&line), "{line}");
        }
    }

    #[test]
    fn nothing_of_ours_names_another_server() {
        for (name, _, bytes) in FILES {
            let text = String::from_utf8_lossy(bytes).replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("http:") && !text.contains("https:") && !text.contains("url("), "{name}");
        }
    }

    #[tokio::test]
    async fn a_lasting_name_is_kept_for_ever_and_a_plain_one_is_asked_for_again() {
        let lasting = path("console.css").rsplit('/').next().unwrap().to_owned();
        let response = read(PathId(lasting.clone()), HeaderMap::new()).await.unwrap();
        assert!(response.headers()[header::CACHE_CONTROL].to_str().unwrap().ends_with("immutable"));
        let mut known = HeaderMap::new();
        known.insert(header::IF_NONE_MATCH, response.headers()[header::ETAG].clone());
        assert_eq!(read(PathId(lasting), known).await.unwrap().status(), StatusCode::NOT_MODIFIED);
        let plain = read(PathId("console.css".to_owned()), HeaderMap::new()).await.unwrap();
        assert_eq!(plain.headers()[header::CACHE_CONTROL], "public, no-cache");
        assert!(read(PathId("../mod.rs".to_owned()), HeaderMap::new()).await.is_err());
    }
}
