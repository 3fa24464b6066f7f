//! InfluxDB 2: a Flux query out, the values of all its records back (contract P10).

use serde_json::json;

use super::http::{Method, Reply, Request, encode, join, strange};
use super::{Question, Service, Trust, given};
use crate::api::providers::MetricProvider;
use crate::planner::analysis::MetricValue;

/// The provider.
#[derive(Debug)]
pub struct Influxdb;

const NAME: &str = "InfluxDB";

impl Service for Influxdb {
    fn is_asked(&self, provider: &MetricProvider) -> bool {
        provider.influxdb.is_some()
    }

    fn request(&self, asked: &Question) -> Result<Request, String> {
        let Some(metric) = &asked.provider.influxdb else {
            return Err("no provider".to_owned());
        };
        let query = given(&metric.query, "influxdb.query")?;
        let pairs = encode(&[("org", asked.needed("org")?)]);
        let url = format!(
            "{}?{pairs}",
            join(asked.needed("address")?, "/api/v2/query")
        );
        let body = json!({
            "query": query, "type": "flux",
            "dialect": {"header": true, "annotations": ["datatype"], "delimiter": ","},
        });
        Ok(Request::new(NAME, Method::Post, url)
            .trust(Trust::Operator)
            .header(
                "authorization",
                format!("Token {}", asked.needed("authToken")?),
            )
            .header("accept", "application/csv")
            .json(&body))
    }

    fn parse(&self, _: &Question, reply: &Reply) -> Result<MetricValue, String> {
        reply.ok(NAME)?;
        let text = std::str::from_utf8(&reply.body).map_err(|_| strange(NAME))?;
        let values = values(text)?;
        if values.is_empty() {
            return Err("InfluxDB has no values for that query".to_owned());
        }
        Ok(MetricValue::List(std::sync::Arc::new(values)))
    }
}

/// The column `_value` of every table of annotated CSV, by its datatype.
fn values(text: &str) -> Result<Vec<MetricValue>, String> {
    let mut values = Vec::new();
    let mut types: Vec<String> = Vec::new();
    let mut column: Option<usize> = None;
    let mut is_head = true;
    for record in records(text)? {
        if record.iter().all(String::is_empty) {
            continue;
        }
        match record.first().map(String::as_str) {
            Some("#datatype") => {
                types = record;
                is_head = true;
            }
            Some(mark) if mark.starts_with('#') => {}
            // Types were asked for: without them this is something else.
            Some(_) if is_head && types.is_empty() => return Err(strange(NAME)),
            Some(_) if is_head => {
                column = record.iter().position(|name| name == "_value");
                // A query that fails half-way tells so in a table of its own.
                if column.is_none() && record.iter().any(|name| name == "error") {
                    return Err("InfluxDB could not carry the query out".to_owned());
                }
                is_head = false;
            }
            _ => {
                let Some(at) = column else { continue };
                let kind = types.get(at).map_or("", String::as_str);
                values.extend(record.get(at).map(|cell| value(cell, kind)));
            }
        }
    }
    if is_head && !text.trim().is_empty() {
        return Err(strange(NAME));
    }
    Ok(values)
}

fn value(cell: &str, kind: &str) -> MetricValue {
    match kind {
        "boolean" => MetricValue::Bool(cell == "true"),
        "double" | "long" | "unsignedLong" => match cell.parse::<f64>() {
            Ok(number) => MetricValue::Float(number),
            Err(_) => MetricValue::Nil,
        },
        _ => MetricValue::text(cell),
    }
}

/// Records of CSV (RFC 4180).
fn records(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut all = Vec::new();
    let mut record = Vec::new();
    let mut cell = String::new();
    let mut is_quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => record.push(std::mem::take(&mut cell)),
            '\r' if !is_quoted => {}
            '\n' if !is_quoted => {
                record.push(std::mem::take(&mut cell));
                all.push(std::mem::take(&mut record));
            }
            c => cell.push(c),
        }
    }
    if is_quoted {
        return Err(strange(NAME));
    }
    if !cell.is_empty() || !record.is_empty() {
        record.push(cell);
        all.push(record);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_and_type_is_read() {
        let text = "#datatype,string,long,double,string\r\n,result,table,_value,note\r\n,,0,0.5,\"a, \"\"b\"\"\"\r\n,,0,2,\r\n\r\n#datatype,string,long,boolean\r\n,result,table,_value\r\n,,1,true\r\n\r\n";
        let read = MetricValue::List(std::sync::Arc::new(values(text).unwrap()));
        assert_eq!(read.to_string(), "[0.5,2,true]");
        assert_eq!(values("").unwrap(), []);
        let error = "#datatype,string,string\r\n,error,reference\r\n,SEEN,897\r\n";
        assert!(!values(error).unwrap_err().contains("SEEN"));
        assert!(values("hello").is_err());
        assert!(values("#datatype,\"").is_err());
    }
}
