//! JSON merge patches (RFC 7386): the difference between two documents, and its application.
//!
//! A merge patch cannot write a `null`: to it, null means "remove". The API server keeps no nulls
//! in the fields we write, so documents are taken as free of them, and a null in `after` is read
//! as an absent field.

use serde_json::{Map, Value};

/// The merge patch that turns `before` into `after`; `None` when there is nothing to change, so
/// that the caller sends no request.
pub fn to_merge_patch(before: &Value, after: &Value) -> Option<Value> {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let patch = object_patch(old, new);
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        _ => (before != after).then(|| after.clone()),
    }
}

fn object_patch(old: &Map<String, Value>, new: &Map<String, Value>) -> Map<String, Value> {
    let mut patch = Map::new();
    for (key, value) in old {
        let is_gone = new.get(key).is_none_or(Value::is_null);
        if is_gone && !value.is_null() {
            patch.insert(key.clone(), Value::Null);
        }
    }
    for (key, value) in new.iter().filter(|(_, value)| !value.is_null()) {
        let change = match old.get(key) {
            Some(present) => to_merge_patch(present, value),
            None => Some(value.clone()),
        };
        if let Some(change) = change {
            patch.insert(key.clone(), change);
        }
    }
    patch
}

/// Applies a merge patch to `target`, as the API server does.
pub fn apply_merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else {
        return;
    };
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(key);
        } else {
            apply_merge_patch(fields.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{apply_merge_patch, to_merge_patch};

    fn check(before: Value, after: Value, patch: Option<Value>) {
        assert_eq!(
            to_merge_patch(&before, &after),
            patch,
            "from {before} to {after}"
        );
    }

    #[test]
    fn difference_is_the_least_that_changes() {
        check(json!({"a": 1}), json!({"a": 1}), None);
        check(
            json!({"a": 1, "b": 2}),
            json!({"a": 1, "b": 3}),
            Some(json!({"b": 3})),
        );
        check(
            json!({"a": {"b": 1, "c": 2}}),
            json!({"a": {"b": 1}}),
            Some(json!({"a": {"c": null}})),
        );
        check(
            json!({"a": [1, 2]}),
            json!({"a": [1]}),
            Some(json!({"a": [1]})),
        );
        check(
            json!({"a": [1]}),
            json!({"a": {"b": 1}}),
            Some(json!({"a": {"b": 1}})),
        );
        check(json!({}), json!({"a": {}}), Some(json!({"a": {}})));
    }

    #[test]
    fn null_after_means_absent() {
        check(
            json!({"a": 1}),
            json!({"a": null}),
            Some(json!({"a": null})),
        );
        check(json!({}), json!({"a": null}), None);
    }

    #[test]
    fn null_before_is_no_change_to_clear() {
        check(json!({"a": null}), json!({}), None);
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0..3i64).prop_map(Value::from),
            "[a-b]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn applying_the_difference_gives_after(before in document(), after in document()) {
            let mut target = before.clone();
            match to_merge_patch(&before, &after) {
                Some(patch) => apply_merge_patch(&mut target, &patch),
                None => prop_assert_eq!(&before, &after),
            }
            prop_assert_eq!(target, after);
        }

        #[test]
        fn applying_twice_is_applying_once(target in document(), patch in document()) {
            let mut once = target;
            apply_merge_patch(&mut once, &patch);
            let mut twice = once.clone();
            apply_merge_patch(&mut twice, &patch);
            prop_assert_eq!(once, twice);
        }
    }
}
