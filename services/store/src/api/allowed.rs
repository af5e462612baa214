//! What an operation demands of who asks: an argument of its function, and so a part of the document.

use std::marker::PhantomData;

use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use vigia_kit::tokens::Scope;

use crate::api::access::Caller;
use crate::api::problem::Problem;

const NAME: &str = "token";

/// Who asks may do it. The first argument, so that nothing is told to others.
#[derive(Debug)]
pub struct Allowed<S>(PhantomData<S>);

/// A scope as a type.
pub trait Demand: Send + Sync {
    /// Which.
    const SCOPE: Scope;
}

/// To read.
#[derive(Debug)]
pub struct ToRead;

impl Demand for ToRead {
    const SCOPE: Scope = Scope::Read;
}

impl<'a, S: Demand> ApiExtractor<'a> for Allowed<S> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let scheme = MetaSecurityScheme {
            ty: "http",
            description: Some(
                "Made by `vigia token add`. On the store's own machine, and only where its API \
                 listens for that machine alone, reading needs none.",
            ),
            name: None,
            key_in: None,
            scheme: Some("bearer"),
            bearer_format: Some("vgt_ and 64 hexadecimal digits"),
            flows: None,
            openid_connect_url: None,
        };
        registry.create_security_scheme(NAME, scheme);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![NAME]
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let scope = match request.extensions().get::<Caller>() {
            Some(Caller::Holder(_, scope)) => *scope,
            Some(Caller::Local) => Scope::Read,
            Some(Caller::Stranger) | None => return Err(Problem::unauthorized().into()),
        };
        if scope >= S::SCOPE {
            return Ok(Self(PhantomData));
        }
        Err(Problem::forbidden(S::SCOPE).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct ToOperate;

    impl Demand for ToOperate {
        const SCOPE: Scope = Scope::Operate;
    }

    async fn status<S: Demand>(caller: Option<Caller>) -> u16 {
        let mut request = Request::default();
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        let options = ExtractParamOptions {
            name: "",
            ignore_case: false,
            default_value: None,
            example_value: None,
            explode: false,
            style: None,
        };
        match Allowed::<S>::from_request(&request, &mut RequestBody::default(), options).await {
            Ok(_) => 200,
            Err(error) => error.into_response().status().as_u16(),
        }
    }

    #[tokio::test]
    async fn a_scope_allows_itself_and_less_and_this_machine_only_reads() {
        let holder = |scope| Some(Caller::Holder("one".to_owned(), scope));
        for scope in Scope::ALL {
            assert_eq!(status::<ToRead>(holder(scope)).await, 200);
            let expected = if scope == Scope::Read { 403 } else { 200 };
            assert_eq!(status::<ToOperate>(holder(scope)).await, expected, "{scope}");
        }
        assert_eq!(status::<ToRead>(Some(Caller::Local)).await, 200);
        assert_eq!(status::<ToOperate>(Some(Caller::Local)).await, 403);
        for nobody in [Some(Caller::Stranger), None] {
            assert_eq!(status::<ToRead>(nobody.clone()).await, 401);
            assert_eq!(status::<ToOperate>(nobody).await, 401);
        }
    }
}
