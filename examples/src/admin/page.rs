//! The status page: one file without anything from elsewhere. It holds no data: the script asks the API, and writes what comes as text, never
//! as HTML.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

pub(crate) fn html() -> &'static str {
    &PAGE.html
}

/// The field `content-security-policy`: this script, this style, this server, and nothing else.
pub(crate) fn policy() -> &'static str {
    &PAGE.policy
}

struct Page {
    html: String,
    policy: String,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| Page {
    html: HTML.replace("/*style*/", STYLE).replace("/*script*/", SCRIPT),
    policy: format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE),
    ),
});

fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

const HTML: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_needs_nothing_from_elsewhere() {
        let page = html();
        assert!(page.contains("<script>") && page.contains("<style>") && !page.contains("/*script*/"));
        for outside in [
            "http://",
            "https://",
            "src=",
            "@import",
            "url(",
            "innerHTML",
            "outerHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!page.contains(outside), "{outside}");
        }
        // What is hashed is what stands between the tags.
        let between = |open: &str, close: &str| {
            let start = page.find(open).expect(open) + open.len();
            &page[start..start + page[start..].find(close).expect(close)]
        };
        assert!(policy().contains(&hash(between("<script>", "</script>"))));
        assert!(policy().contains(&hash(between("<style>", "</style>"))));
    }
}
