//! `pumasi explain`: the page of an error code.

use crate::{
    failure::{self, Failure},
    say::{print, print_json},
};
use std::process::ExitCode;

macro_rules! pages {
    ($($code:literal)*) => {
        [$((
            concat!("PU", $code),
            include_str!(concat!("../../../../docs/errors/PU", $code, ".md")),
        )),*]
    };
}

/// The pages in `docs/errors`, by code.
const PAGES: [(&str, &str); 27] = pages![
    1001 1002 1003
    2001 2002 2003 2004 2005
    3001 3002 3003
    4001 4002 4003 4004 4005 4006 4007
    5001 5002 5003
    6001 6002 6003 6004 6005
    9001
];

pub(super) fn run(code: &str, json: bool) -> Result<ExitCode, Failure> {
    let wanted = code.to_ascii_uppercase();
    let (code, page) = PAGES
        .into_iter()
        .find(|(code, _)| *code == wanted || code.trim_start_matches("PU") == wanted)
        .ok_or_else(|| {
            failure::usage(format!(
                "`{}` is no error code; they look like PU3002",
                code.escape_debug()
            ))
        })?;
    if json {
        print_json(&serde_json::json!({ "code": code, "page": page }));
    } else {
        print(page.trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumasi_common::ErrorCode;

    #[test]
    fn every_code_is_explained() {
        let codes = PAGES.map(|(code, _)| code.to_owned());
        assert_eq!(codes, ErrorCode::ALL.map(|code| code.to_string()));
        assert!(run("pu3002", false).is_ok());
        assert!(run("PU0000", false).is_err());
    }
}
