//! Text of a condition to tokens. Knows the spelling of the language, not its grammar.

/// A token and where it begins (byte offset from 0).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spanned {
    /// The token.
    pub(super) token: Token,
    /// Byte offset of its first byte.
    pub(super) at: usize,
}

/// A word of the language.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// Whole number.
    Int(i64),
    /// Number with a fraction or an exponent.
    Float(f64),
    /// Quoted text, unescaped.
    Text(String),
    /// Name, keyword, or `#` with what follows it.
    Word(String),
    /// Operator or bracket.
    Sign(&'static str),
}

impl Token {
    /// The spelling of words and signs; empty for literals.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Sign(sign) => sign,
            Self::Int(_) | Self::Float(_) | Self::Text(_) => "",
        }
    }
}

/// Signs of two characters come first, so that `>=` is not read as `>`.
fn sign_of_two(text: &str) -> Option<&'static str> {
    const SIGNS: [&str; 10] = ["?.", "??", "&&", "||", "==", "!=", "<=", ">=", "**", ".."];
    SIGNS.into_iter().find(|sign| *sign == text)
}

fn sign_of_one(first: char) -> Option<&'static str> {
    Some(match first {
        '(' => "(",
        ')' => ")",
        '[' => "[",
        ']' => "]",
        '{' => "{",
        '}' => "}",
        '+' => "+",
        '-' => "-",
        '*' => "*",
        '/' => "/",
        '%' => "%",
        '^' => "^",
        '<' => "<",
        '>' => ">",
        '!' => "!",
        '?' => "?",
        ':' => ":",
        ',' => ",",
        '.' => ".",
        '|' => "|",
        ';' => ";",
        '=' => "=",
        _ => return None,
    })
}

/// Splits a condition into tokens.
pub(super) fn lex(text: &str) -> Result<Vec<Spanned>, String> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks()?;
        let at = lexer.at;
        let Some(first) = lexer.peek() else {
            return Ok(tokens);
        };
        let token = match first {
            '"' | '\'' => lexer.quoted(first)?,
            '`' => lexer.raw()?,
            c if c.is_ascii_digit() => lexer.number()?,
            '.' if lexer
                .rest()
                .chars()
                .nth(1)
                .is_some_and(|c| c.is_ascii_digit()) =>
            {
                lexer.number()?
            }
            c if c.is_alphabetic() || matches!(c, '_' | '$' | '#') => lexer.word(),
            c => lexer.sign(c)?,
        };
        tokens.push(Spanned { token, at });
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at = self.at.saturating_add(c.len_utf8());
        Some(c)
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !keep(c)).unwrap_or(rest.len());
        self.at = self.at.saturating_add(end);
        rest.get(..end).unwrap_or_default()
    }

    fn fault<T>(&self, message: impl std::fmt::Display) -> Result<T, String> {
        Err(format!(
            "{message} at position {}",
            self.at.saturating_add(1)
        ))
    }

    fn skip_blanks(&mut self) -> Result<(), String> {
        loop {
            self.take_while(char::is_whitespace);
            if self.rest().starts_with("//") {
                self.take_while(|c| c != '\n');
            } else if self.rest().starts_with("/*") {
                let Some(end) = self.rest().find("*/") else {
                    return self.fault("comment without end");
                };
                self.at = self.at.saturating_add(end).saturating_add(2);
            } else {
                return Ok(());
            }
        }
    }

    fn word(&mut self) -> Token {
        let start = self.at;
        self.bump();
        self.take_while(|c| c.is_alphanumeric() || c == '_');
        Token::Word(self.text.get(start..self.at).unwrap_or_default().to_owned())
    }

    fn sign(&mut self, first: char) -> Result<Token, String> {
        let two = self.rest().get(..2);
        match two.and_then(sign_of_two).or_else(|| sign_of_one(first)) {
            Some(sign) => {
                self.at = self.at.saturating_add(sign.len());
                Ok(Token::Sign(sign))
            }
            None => self.fault(format!("unexpected character {first:?}")),
        }
    }

    fn number(&mut self) -> Result<Token, String> {
        let start = self.at;
        for (prefix, radix) in [
            ("0x", 16),
            ("0X", 16),
            ("0b", 2),
            ("0B", 2),
            ("0o", 8),
            ("0O", 8),
        ] {
            if self.rest().starts_with(prefix) {
                self.at = self.at.saturating_add(2);
                let digits = self
                    .take_while(|c| c.is_ascii_alphanumeric() || c == '_')
                    .replace('_', "");
                return match i64::from_str_radix(&digits, radix) {
                    Ok(n) => Ok(Token::Int(n)),
                    Err(_) => self.fault("a number that cannot be read"),
                };
            }
        }
        let digit = |c: char| c.is_ascii_digit() || c == '_';
        self.take_while(digit);
        let mut whole = true;
        if self.peek() == Some('.') && !self.rest().starts_with("..") {
            self.bump();
            self.take_while(digit);
            whole = false;
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            self.bump();
            if matches!(self.peek(), Some('+' | '-')) {
                self.bump();
            }
            self.take_while(digit);
            whole = false;
        }
        if self.peek().is_some_and(|c| c.is_alphanumeric()) {
            return self.fault("a number that runs into a word");
        }
        let text = self
            .text
            .get(start..self.at)
            .unwrap_or_default()
            .replace('_', "");
        let token = if whole {
            text.parse().ok().map(Token::Int)
        } else {
            text.parse().ok().map(Token::Float)
        };
        token.map_or_else(
            || self.fault(format!("a number that cannot be read: {text}")),
            Ok,
        )
    }

    fn raw(&mut self) -> Result<Token, String> {
        self.bump();
        let text = self.take_while(|c| c != '`').to_owned();
        match self.bump() {
            Some(_) => Ok(Token::Text(text)),
            None => self.fault("text without closing quote"),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Token, String> {
        self.bump();
        let mut text = String::new();
        loop {
            match self.bump() {
                None | Some('\n') => return self.fault("text without closing quote"),
                Some(c) if c == quote => return Ok(Token::Text(text)),
                Some('\\') => text.push(self.escaped()?),
                Some(c) => text.push(c),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, String> {
        match self.bump() {
            Some('n') => Ok('\n'),
            Some('t') => Ok('\t'),
            Some('r') => Ok('\r'),
            Some('b') => Ok('\u{8}'),
            Some('f') => Ok('\u{c}'),
            Some(c @ ('\\' | '\'' | '"' | '/' | '`')) => Ok(c),
            Some('u') => self.code_point(4),
            Some('x') => self.code_point(2),
            _ => self.fault("an escape that is not known"),
        }
    }

    fn code_point(&mut self, digits: usize) -> Result<char, String> {
        let hex: String = self.rest().chars().take(digits).collect();
        self.at = self.at.saturating_add(hex.len());
        let code = u32::from_str_radix(&hex, 16)
            .ok()
            .filter(|_| hex.len() == digits);
        code.and_then(char::from_u32)
            .map_or_else(|| self.fault("an escape that is no character"), Ok)
    }
}
