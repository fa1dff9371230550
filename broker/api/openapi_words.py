"""What the description says of each operation and parameter."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
Answers = dict[str, tuple[str, Schema | None]]
_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "string", "enum": ["true", "false"]}
_DATE_TIME: Schema = {"type": "string", "format": "date-time"}


def _number(least: int, most: int | None = None) -> Schema:
    return {"type": "integer", "minimum": least, **({} if most is None else {"maximum": most})}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


PARAMETERS: dict[str, tuple[str, Schema]] = {
    "aggrMethods": ("Aggregation methods, by comma, such as avg (4.5.19).", _TEXT),
    "aggrPeriodDuration": ("ISO 8601 duration of a period; all time by default.", _TEXT),
    "asOf": ("Moment whose state is wanted, from history (extension).", _DATE_TIME),
    "attrs": ("Attributes to match and show, by comma (deprecated by pick).", _TEXT),
    "collation": ("BCP 47 tag of the order of texts (4.23).", _TEXT),
    "containedBy": ("Ids met before, not to be joined again, by comma (4.5.23).", _TEXT),
    "coordinates": ("Coordinates of the reference geometry, as JSON (4.10).", _TEXT),
    "count": ("Whether to tell the number of all results (6.3.13).", _FLAG),
    "csf": ("Filter of context sources (4.9).", _TEXT),
    "datasetId": ("Instances of attributes, by comma; @none is the default one (4.5.5).", _TEXT),
    "deleteAll": ("Whether to delete every instance of the attribute.", _FLAG),
    "details": ("Whether to describe each entry.", _FLAG),
    "drop": ("Attributes to delete instead of the entities, by comma (5.6.21).", _TEXT),
    "endTimeAt": ("End of an interval (4.11).", _DATE_TIME),
    "entityId": ("Id of the entity that is asked about.", _TEXT),
    "entityMap": ("Whether to make an entity map of the results.", _FLAG),
    "entityMapLifetime": ("How long that map is wanted, ISO 8601 duration.", _TEXT),
    "expandValues": ("Attributes whose values in q are names to expand (4.9).", _TEXT),
    "format": ("Representation: normalized, concise or simplified (6.3.7).", _TEXT),
    "geometry": ("Type of the reference geometry (4.10).", _TEXT),
    "geometryProperty": ("GeoProperty that becomes the geometry of GeoJSON (4.5.16).", _TEXT),
    "geoproperty": ("GeoProperty that the geoquery is about; location by default.", _TEXT),
    "georel": ("Relation to the reference geometry, such as near;maxDistance==500.", _TEXT),
    "id": ("Ids of entities, by comma.", _TEXT),
    "idPattern": ("Regular expression for ids.", _TEXT),
    "instances": ("Instances to serve for each entity, on average (extension).", _number(1)),
    "join": ("How to bring linked entities along: inline, flat or @none (4.5.23).", _TEXT),
    "joinLevel": ("How many relationships to follow.", _number(1, 10)),
    "jsonKeys": ("Attributes whose values are opaque JSON.", _TEXT),
    "keep": ("Attributes to keep while all others are deleted, by comma (5.6.21).", _TEXT),
    "kind": ("Kind of @context: Cached, Hosted or ImplicitlyCreated (5.13).", _TEXT),
    "lang": ("Preferred natural language (4.15).", _TEXT),
    "lastEventId": ("Id of the last event seen, where a header cannot be set.", _TEXT),
    "lastN": ("How many of the last instances of each attribute.", _number(1)),
    "limit": ("Most entries of a page.", _number(0)),
    "local": ("Whether only this broker is asked (5.5.13).", _FLAG),
    "observedAt": ("observedAt of what is merged without one (5.6.17).", _DATE_TIME),
    "offset": ("Entries to pass over.", _number(0)),
    "omit": ("Members to leave out, by comma (4.21).", _TEXT),
    "options": ("Keywords, by comma, such as keyValues, concise, sysAttrs.", _TEXT),
    "orderBy": ("Members to sort by, by comma, each with ;asc or ;desc (4.23).", _TEXT),
    "orderFrom": ("Coordinates that distances are measured from, as JSON (4.23).", _TEXT),
    "orderGeometry": ("Type of that geometry.", _TEXT),
    "pick": ("Members to show, by comma (4.21).", _TEXT),
    "q": ("Query over attributes (4.9).", _TEXT),
    "reload": ("Whether to fetch the @context anew instead of deleting it (5.13.5).", _FLAG),
    "scopeQ": ("Scope query (4.19).", _TEXT),
    "splitEntities": ("Whether entities are distributed over sources.", _FLAG),
    "timeAt": ("Instant, or beginning of an interval (4.11).", _DATE_TIME),
    "timeproperty": ("observedAt, createdAt, modifiedAt or deletedAt (4.11).", _TEXT),
    "timerel": ("before, after or between (4.11).", _TEXT),
    "type": ("Selection of entity types (4.17).", _TEXT),
    "via": ("Where the request has been.", _TEXT),
}

BODIES: dict[str, Schema] = {
    "createEntity": _ref("Entity"),
    "mergeEntity": _ref("Fragment"),
    "replaceEntity": _ref("Entity"),
    "appendAttrs": _ref("Fragment"),
    "updateEntity": _ref("Fragment"),
    "updateAttrs": _ref("Attribute"),
    "replaceAttrs": _ref("Attribute"),
    "createBatch": _list(_ref("Entity")),
    "upsertBatch": _list(_ref("Entity")),
    "updateBatch": _list(_ref("Fragment")),
    "mergeBatch": _list(_ref("Fragment")),
    "deleteBatch": _list(_TEXT),
    "queryBatch": _ref("Query"),
    "upsertTemporal": {"type": "object", "required": ["id", "type"]},
    "appendAttrsTemporal": {"type": "object"},
    "updateAttrsTemporal": {"type": ["object", "array"]},
    "queryTemporalByPost": _ref("Query"),
    "createSubscription": _ref("Subscription"),
    "updateSubscription": {"type": "object"},
    "replayDeadLetters": {"type": "object", "properties": {"ids": _list(_TEXT)}},
    "createContext": {"type": "object", "required": ["@context"]},
}

SUMMARIES: dict[str, tuple[str, str]] = {
    "createEntity": ("Create an entity", "5.6.1"),
    "queryEntity": ("Query entities", "5.7.2"),
    "purgeEntities": ("Delete entities by a query", "5.6.21"),
    "retrieveEntity": ("Retrieve an entity", "5.7.1"),
    "mergeEntity": ("Merge a fragment into an entity", "5.6.17"),
    "replaceEntity": ("Replace an entity", "5.6.18"),
    "deleteEntity": ("Delete an entity", "5.6.6"),
    "appendAttrs": ("Append attributes to an entity", "5.6.3"),
    "updateEntity": ("Update attributes of an entity", "5.6.2"),
    "updateAttrs": ("Update one attribute in part", "5.6.4"),
    "replaceAttrs": ("Replace one attribute", "5.6.19"),
    "deleteAttrs": ("Delete one attribute", "5.6.5"),
    "createBatch": ("Create entities", "5.6.7"),
    "upsertBatch": ("Create entities or update those that exist", "5.6.8"),
    "updateBatch": ("Update entities", "5.6.9"),
    "mergeBatch": ("Merge fragments into entities", "5.6.20"),
    "deleteBatch": ("Delete entities", "5.6.10"),
    "queryBatch": ("Query entities with a document", "5.7.2"),
    "upsertTemporal": ("Create the history of an entity, or add to it", "5.6.11"),
    "queryTemporal": ("Query histories of entities", "5.7.4"),
    "queryTemporalByPost": ("Query histories of entities with a document", "5.7.4"),
    "retrieveTemporal": ("Retrieve the history of an entity", "5.7.3"),
    "deleteTemporal": ("Delete the history of an entity", "5.6.16"),
    "appendAttrsTemporal": ("Add instances to the history of an entity", "5.6.12"),
    "deleteAttrsTemporal": ("Delete an attribute from a history", "5.6.13"),
    "updateAttrsTemporal": ("Replace an instance in a history", "5.6.14"),
    "deleteAttrInstanceTemporal": ("Delete an instance from a history", "5.6.15"),
    "retrieveEntityTypes": ("List entity types", "5.7.5, 5.7.6"),
    "retrieveEntityTypeInfo": ("Describe an entity type", "5.7.7"),
    "retrieveAttrTypes": ("List attributes", "5.7.8, 5.7.9"),
    "retrieveAttrTypeInfo": ("Describe an attribute", "5.7.10"),
    "createSubscription": ("Create a subscription", "5.8.1"),
    "querySubscription": ("List subscriptions", "5.8.4"),
    "retrieveSubscription": ("Retrieve a subscription", "5.8.3"),
    "updateSubscription": ("Update a subscription", "5.8.2"),
    "deleteSubscription": ("Delete a subscription", "5.8.5"),
    "explainSubscription": ("Explain what a subscription is notified of", "5.8.6, extension"),
    "listDeadLetters": ("List notifications that were given up", "5.8.6, extension"),
    "replayDeadLetters": ("Deliver such notifications after all", "5.8.6, extension"),
    "purgeDeadLetters": ("Delete such notifications", "5.8.6, extension"),
    "testSubscription": ("Send a sample to the receiver once", "5.8.6, extension"),
    "streamSubscription": ("Stream a subscription's notifications", "5.8.6, extension"),
    "streamEntities": ("Stream what happens to entities that match", "5.7.2, extension"),
    "createContext": ("Add an @context", "5.13.2"),
    "listContexts": ("List @contexts", "5.13.3"),
    "retrieveContext": ("Serve an @context", "5.13.4"),
    "deleteContext": ("Delete or reload an @context", "5.13.5"),
}

_DONE: Answers = {"204": ("Done.", None)}
_PARTLY: Answers = {"207": ("Done in part.", _ref("BatchOperationResult"))}
_PAST: Answers = {"206": ("Not all instances; Content-Range says of which time.", None)}
_CREATED: Answers = {"201": ("Created; Location says where.", None)}

SUCCESS: dict[str, Answers] = {
    "createEntity": _CREATED,
    "queryEntity": {"200": ("The entities.", _list({"type": "object"}))},
    "purgeEntities": _DONE,
    "retrieveEntity": {"200": ("The entity.", {"type": ["object", "array"]})},
    "mergeEntity": _DONE,
    "replaceEntity": _DONE,
    "deleteEntity": _DONE,
    "appendAttrs": {**_DONE, "207": ("Some attributes were kept.", {"type": "object"})},
    "updateEntity": {**_DONE, "207": ("Some attributes were kept.", {"type": "object"})},
    "updateAttrs": _DONE,
    "replaceAttrs": _DONE,
    "deleteAttrs": _DONE,
    "createBatch": {"201": ("The ids created.", _list(_TEXT)), **_PARTLY},
    "upsertBatch": {"201": ("The ids created.", _list(_TEXT)), **_DONE, **_PARTLY},
    "updateBatch": {**_DONE, **_PARTLY},
    "mergeBatch": {**_DONE, **_PARTLY},
    "deleteBatch": {**_DONE, **_PARTLY},
    "queryBatch": {"200": ("The entities.", _list({"type": "object"}))},
    "upsertTemporal": {**_CREATED, **_DONE},
    "queryTemporal": {"200": ("The histories.", _list({"type": "object"})), **_PAST},
    "queryTemporalByPost": {"200": ("The histories.", _list({"type": "object"})), **_PAST},
    "retrieveTemporal": {"200": ("The history.", {"type": "object"}), **_PAST},
    "deleteTemporal": _DONE,
    "appendAttrsTemporal": _DONE,
    "deleteAttrsTemporal": _DONE,
    "updateAttrsTemporal": _DONE,
    "deleteAttrInstanceTemporal": _DONE,
    "retrieveEntityTypes": {"200": ("The types.", {"type": ["object", "array"]})},
    "retrieveEntityTypeInfo": {"200": ("The type.", {"type": "object"})},
    "retrieveAttrTypes": {"200": ("The attributes.", {"type": ["object", "array"]})},
    "retrieveAttrTypeInfo": {"200": ("The attribute.", {"type": "object"})},
    "createSubscription": _CREATED,
    "querySubscription": {"200": ("The subscriptions.", _list(_ref("Subscription")))},
    "retrieveSubscription": {"200": ("The subscription.", _ref("Subscription"))},
    "updateSubscription": _DONE,
    "deleteSubscription": _DONE,
    "explainSubscription": {"200": ("The last changes and the delivery.", {"type": "object"})},
    "listDeadLetters": {"200": ("The dead letters, newest first.", _list({"type": "object"}))},
    "replayDeadLetters": {"200": ("The ids that wait again.", {"type": "object"})},
    "purgeDeadLetters": {"200": ("How many were deleted.", {"type": "object"})},
    "testSubscription": {"200": ("What the receiver said.", {"type": "object"})},
    "streamSubscription": {"200": ("Server-sent events, or a WebSocket on Upgrade.", _TEXT)},
    "streamEntities": {"200": ("Server-sent events, or a WebSocket on Upgrade.", _TEXT)},
    "createContext": _CREATED,
    "listContexts": {"200": ("The @contexts.", _list({"type": ["string", "object"]}))},
    "retrieveContext": {"200": ("The @context.", {"type": "object"})},
    "deleteContext": _DONE,
}
