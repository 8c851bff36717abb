//! A node that lags: it answers every call as of an earlier block.

use http_body_util::Full;
use hyper::{Response, StatusCode, body::Bytes};
use serde_json::{Value, json};

use super::{Lost, Relay, answer, refusal};

/// The index of a method's block parameter.
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

/// Rewrites the call so that the answer is that of a node at `head`; `None` if it asks for a later block.
pub(super) fn rewrite_call(head: u64, mut call: Value) -> Option<Value> {
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

/// Removes from an answer what a node at `head` does not know.
pub(super) fn truncate_result(head: u64, mut result: Value) -> Value {
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
        self.lock().picker.made.behind += 1;
        if call["method"] == "eth_blockNumber" {
            return Ok(result(&id, &json!(format!("{head:#x}"))));
        }
        let by_number = call["method"] == "eth_getBlockByNumber";
        let Some(call) = rewrite_call(head, call) else {
            return Ok(if by_number {
                result(&id, &Value::Null)
            } else {
                refusal(&id, "header not found")
            });
        };
        let (status, answer_bytes) = self.forward(call.to_string().into()).await?;
        let Ok(Value::Object(mut response)) = serde_json::from_slice(&answer_bytes) else {
            return Ok(answer(status, answer_bytes));
        };
        if let Some(result) = response.get_mut("result") {
            *result = truncate_result(head, result.take());
        }
        Ok(answer(status, Value::Object(response).to_string().into()))
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
    fn the_latest_block_is_the_one_it_stopped_at_and_later_ones_are_unknown() {
        let asked = rewrite_call(16, call("eth_getTransactionCount", &json!(["0xaa", "latest"])));
        assert_eq!(
            asked,
            Some(call("eth_getTransactionCount", &json!(["0xaa", "0x10"])))
        );
        let earlier = call("eth_getBlockByNumber", &json!(["0x10", false]));
        assert_eq!(rewrite_call(16, earlier.clone()), Some(earlier));
        assert_eq!(
            rewrite_call(16, call("eth_getBlockByNumber", &json!(["0x11", false]))),
            None
        );
        let sent = call("eth_sendRawTransaction", &json!(["0xff"]));
        assert_eq!(rewrite_call(16, sent.clone()), Some(sent));
    }

    #[test]
    fn receipts_blocks_and_logs_of_later_blocks_are_unknown() {
        let receipt = |block: &str| json!({"status": "0x1", "blockNumber": block});
        assert_eq!(truncate_result(16, receipt("0x10")), receipt("0x10"));
        assert_eq!(truncate_result(16, receipt("0x11")), Value::Null);
        assert_eq!(truncate_result(16, json!({"number": "0x11"})), Value::Null);
        assert_eq!(
            truncate_result(16, json!([receipt("0x10"), receipt("0x11")])),
            json!([receipt("0x10")])
        );
        assert_eq!(truncate_result(16, json!("0x11")), json!("0x11"));
    }
}
