//! A node that lags: it answers everything, as of a block that others have left behind.

use http_body_util::Full;
use hyper::{Response, StatusCode, body::Bytes};
use serde_json::{Value, json};

use super::{Lost, Relay, answer, refusal};

/// Where a method names its block.
fn block_of(method: &str) -> Option<usize> {
    match method {
        "eth_getBlockByNumber" => Some(0),
        "eth_call" | "eth_getBalance" | "eth_getCode" | "eth_getTransactionCount" | "eth_estimateGas" => {
            Some(1)
        }
        "eth_getStorageAt" => Some(2),
        _ => None,
    }
}

fn number(text: &Value) -> Option<u64> {
    u64::from_str_radix(text.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// The question that a node at `head` would answer the same way; `None` if it is about a block that it does not have.
pub(super) fn question(head: u64, mut call: Value) -> Option<Value> {
    let method = call["method"].as_str().unwrap_or_default();
    if let Some(at) = block_of(method).and_then(|index| call["params"].get_mut(index)) {
        match at.as_str() {
            Some("latest" | "pending") => *at = json!(format!("{head:#x}")),
            _ if number(at).is_some_and(|number| number > head) => return None,
            _ => {}
        }
    }
    Some(call)
}

/// What a node at `head` knows of a true answer.
pub(super) fn knows(head: u64, mut result: Value) -> Value {
    let later = |value: &Value| {
        ["blockNumber", "number"]
            .iter()
            .any(|field| number(&value[*field]).is_some_and(|number| number > head))
    };
    if let Some(list) = result.as_array_mut() {
        list.retain(|entry| !later(entry));
    }
    if later(&result) { Value::Null } else { result }
}

impl Relay {
    pub(super) async fn as_of(&self, head: u64, call: Value) -> Result<Response<Full<Bytes>>, Lost> {
        let id = call["id"].clone();
        self.lock().dice.made.behind += 1;
        if call["method"] == "eth_blockNumber" {
            return Ok(result(&id, &json!(format!("{head:#x}"))));
        }
        let by_number = call["method"] == "eth_getBlockByNumber";
        let Some(call) = question(head, call) else {
            return Ok(if by_number {
                result(&id, &Value::Null)
            } else {
                refusal(&id, "header not found")
            });
        };
        let (status, said) = self.ask(call.to_string().into()).await?;
        let Ok(Value::Object(mut said)) = serde_json::from_slice(&said) else {
            return Ok(answer(status, said));
        };
        if let Some(told) = said.get_mut("result") {
            *told = knows(head, told.take());
        }
        Ok(answer(status, Value::Object(said).to_string().into()))
    }
}

fn result(id: &Value, result: &Value) -> Response<Full<Bytes>> {
    answer(
        StatusCode::OK,
        json!({"jsonrpc": "2.0", "id": id, "result": result})
            .to_string()
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, params: &Value) -> Value {
        json!({"id": 1, "method": method, "params": params})
    }

    #[test]
    fn what_is_latest_is_the_block_where_it_stopped_and_later_ones_are_not_there() {
        let asked = question(16, call("eth_getTransactionCount", &json!(["0xaa", "latest"])));
        assert_eq!(
            asked,
            Some(call("eth_getTransactionCount", &json!(["0xaa", "0x10"])))
        );
        let earlier = call("eth_getBlockByNumber", &json!(["0x10", false]));
        assert_eq!(question(16, earlier.clone()), Some(earlier));
        assert_eq!(
            question(16, call("eth_getBlockByNumber", &json!(["0x11", false]))),
            None
        );
        let sent = call("eth_sendRawTransaction", &json!(["0xff"]));
        assert_eq!(question(16, sent.clone()), Some(sent));
    }

    #[test]
    fn receipts_blocks_and_logs_of_later_blocks_are_unknown() {
        let receipt = |block: &str| json!({"status": "0x1", "blockNumber": block});
        assert_eq!(knows(16, receipt("0x10")), receipt("0x10"));
        assert_eq!(knows(16, receipt("0x11")), Value::Null);
        assert_eq!(knows(16, json!({"number": "0x11"})), Value::Null);
        assert_eq!(
            knows(16, json!([receipt("0x10"), receipt("0x11")])),
            json!([receipt("0x10")])
        );
        assert_eq!(knows(16, json!("0x11")), json!("0x11"));
    }
}
