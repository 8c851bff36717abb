//! How an error is told in one line.

use std::error::Error;

/// An error with all its causes: how failures are logged, once, where they are handled.
pub fn error_chain(error: &(dyn Error + '_)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some libraries repeat the cause in their own text.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the row is not read")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("the connection is lost: reset by peer")]
    struct Middle(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("reset by peer")]
    struct Inner;

    #[test]
    fn each_cause_is_told_once() {
        assert_eq!(
            error_chain(&Outer(Middle(Inner))),
            "the row is not read: the connection is lost: reset by peer"
        );
    }
}
