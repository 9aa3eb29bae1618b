//! The declaration of messages: one table of fields gives the type, its decoder, its encoder and
//! its generator for tests.
//!
//! ```text
//! message NAME key KEY [FIRST..=LAST] flexible FROM { FIELD, … }     the body of a request or response
//! part NAME { FIELD, … }                                            a structure within one
//! FIELD = name: Type [versions] nullable [versions] tag NUMBER = default
//! versions = 3+ or 3-8 or 3
//! ```
//! A field is read and written only in its versions and has its default in the others. A field
//! with a tag is written only when it differs from its default.

macro_rules! within {
    ($version:ident, $lo:literal +) => {
        $version >= $lo
    };
    ($version:ident, $lo:literal - $hi:literal) => {
        ($lo..=$hi).contains(&$version)
    };
    ($version:ident, $only:literal) => {
        $version == $only
    };
    ($version:ident,) => {
        false
    };
}

macro_rules! schema {
    () => {};
    ($(#[$meta:meta])* message $name:ident key $key:literal
        [$first:literal ..= $last:literal] flexible $from:tt { $($body:tt)* } $($rest:tt)*) => {
        schema!(@structure [$(#[$meta])*] $name { $($body)* });
        impl $crate::codec::Message for $name {
            const KEY: i16 = $key;
            const VERSIONS: std::ops::RangeInclusive<i16> = $first..=$last;
            const FLEXIBLE_FROM: i16 = schema!(@flexible $from);
        }
        schema!($($rest)*);
    };
    ($(#[$meta:meta])* part $name:ident { $($body:tt)* } $($rest:tt)*) => {
        schema!(@structure [$(#[$meta])*] $name { $($body)* });
        schema!($($rest)*);
    };

    (@flexible none) => { i16::MAX };
    (@flexible $from:literal) => { $from };

    (@structure [$($meta:tt)*] $name:ident { $(
        $field:ident: $ty:ty [$($versions:tt)+]
        $(nullable [$($null:tt)+])? $(tag $tag:literal)? $(= $default:expr)?
    ),* $(,)? }) => {
        $($meta)*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $(pub $field: $ty,)*
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: schema!(@default $($default)?),)* }
            }
        }

        impl $crate::codec::Wire for $name {
            fn read(r: &mut $crate::codec::Reader<'_>) -> Result<$name, $crate::codec::Malformed> {
                let version = r.version();
                let mut value = $name::default();
                $(schema!(@read r version value $field [$($versions)+] [$($($null)+)?] $($tag)?);)*
                if r.flexible() {
                    for _ in 0..r.tag_count()? {
                        let (_tag, end) = r.open_tag()?;
                        $(schema!(@read_tag r version _tag value $field [$($versions)+] $($tag)?);)*
                        r.close_tag(end)?;
                    }
                }
                Ok(value)
            }

            fn write(&self, w: &mut $crate::codec::Writer) {
                let version = w.version();
                $(schema!(@write w version self $field [$($versions)+] [$($($null)+)?] $($tag)?);)*
                if w.flexible() {
                    #[allow(unused_mut, reason = "most structures have no tagged field")]
                    let mut fields = Vec::<(u32, $crate::codec::Writer)>::new();
                    $(schema!(@write_tag w version fields self $field [$($versions)+] $($tag)?);)*
                    w.tags(&fields);
                }
            }
        }

        impl $crate::codec::Nullable for $name {
            fn read_nullable(
                r: &mut $crate::codec::Reader<'_>,
            ) -> Result<Option<$name>, $crate::codec::Malformed> {
                if r.i8()? < 0 {
                    return Ok(None);
                }
                $crate::codec::Wire::read(r).map(Some)
            }

            fn write_nullable(value: Option<&$name>, w: &mut $crate::codec::Writer) {
                w.i8(if value.is_some() { 1 } else { -1 });
                if let Some(value) = value {
                    $crate::codec::Wire::write(value, w);
                }
            }
        }

        #[cfg(test)]
        impl $crate::codec::sample::Sample for $name {
            fn sample(dice: &mut $crate::codec::sample::Dice) -> $name {
                let version = dice.version();
                let mut value = $name::default();
                $(if within!(version, $($versions)+) {
                    value.$field = dice.field(within!(version, $($($null)+)?));
                })*
                value
            }
        }
    };

    (@default) => { Default::default() };
    (@default $default:expr) => { $default };

    (@read $r:ident $version:ident $value:ident $field:ident [$($versions:tt)+] [$($null:tt)*]) => {
        if within!($version, $($versions)+) {
            let at_byte = $r.at();
            $value.$field = $crate::codec::Wire::read($r)?;
            if $crate::codec::Wire::null(&$value.$field) && !(within!($version, $($null)*)) {
                return Err($crate::codec::Malformed { at_byte, why: "a null where none is allowed" });
            }
        }
    };
    (@read $r:ident $version:ident $value:ident $field:ident [$($versions:tt)+] [$($null:tt)*]
        $tag:literal) => {};

    (@read_tag $r:ident $version:ident $tag:ident $value:ident $field:ident [$($versions:tt)+]) => {};
    (@read_tag $r:ident $version:ident $tag:ident $value:ident $field:ident [$($versions:tt)+]
        $number:literal) => {
        if $tag == $number && within!($version, $($versions)+) {
            $value.$field = $crate::codec::Wire::read($r)?;
        }
    };

    (@write $w:ident $version:ident $self:ident $field:ident [$($versions:tt)+] [$($null:tt)*]) => {
        if within!($version, $($versions)+) {
            if within!($version, $($null)*) {
                $crate::codec::Wire::write(&$self.$field, $w);
            } else {
                $crate::codec::Wire::write_some(&$self.$field, $w);
            }
        }
    };
    (@write $w:ident $version:ident $self:ident $field:ident [$($versions:tt)+] [$($null:tt)*]
        $tag:literal) => {};

    (@write_tag $w:ident $version:ident $fields:ident $self:ident $field:ident
        [$($versions:tt)+]) => {};
    (@write_tag $w:ident $version:ident $fields:ident $self:ident $field:ident
        [$($versions:tt)+] $number:literal) => {
        if within!($version, $($versions)+) && $self.$field != Self::default().$field {
            let mut nested = $w.nested();
            $crate::codec::Wire::write(&$self.$field, &mut nested);
            $fields.push(($number, nested));
        }
    };
}

pub(crate) use {schema, within};
