//! The one table of attributes that every wire struct carries.

/// Declares wire structs. Each gets the derives of the wire, camelCase names, and `default`, so
/// that an absent field is never a decoding error; a field that is `None` (or an empty list, where
/// the field is a plain `Vec`) is not written. Everything else is said on the struct or the field.
macro_rules! wire {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* pub $field:ident: $type:ty, )*
        }
    )*) => { $(
        #[derive(
            Clone, Debug, Default, PartialEq,
            serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        #[serde(rename_all = "camelCase", default)]
        $(#[$meta])*
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(skip_serializing_if = "crate::api::wire::Absent::is_absent")]
                pub $field: $type,
            )*
        }
    )* };
}

/// Whether a field is left out of the JSON.
pub(crate) trait Absent {
    /// True where the wire would not show the field at all.
    fn is_absent(&self) -> bool;
}

impl<T> Absent for Option<T> {
    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T> Absent for Vec<T> {
    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

/// Parts that the wire always shows.
macro_rules! always_shown {
    ($($name:path),*) => { $(
        impl crate::api::wire::Absent for $name {
            fn is_absent(&self) -> bool {
                false
            }
        }
    )* };
}

// Names and other strings without which an entry says nothing are shown even when they are empty.
always_shown!(
    String,
    i64,
    crate::api::status::WeightDestination,
    crate::api::providers::MetricProvider
);
