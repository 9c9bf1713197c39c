"""Records as Arrow tables and back: the one schema of all work tables, typed and fixed from the first shard.

`SCHEMA_VERSION` is stored in every file; a change of the columns raises it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

import msgspec

from boostqa.errors import ContractError
from boostqa.record import Drop, Event, Labels, Record, Requested, SeedText, Source

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

SCHEMA_VERSION = 2
_CONVERT = Lock()

_TYPES: dict[str, str] = {
    "str": "string",
    "float": "double",
    "int": "int64",
    "bool": "bool",
    "list[str]": "list<string>",
    "dict[str, float]": "map<double>",
}
_STRUCTS: dict[str, type[msgspec.Struct]] = {
    "Labels": Labels,
    "Requested": Requested,
    "Source": Source,
    "SeedText": SeedText,
    "Event": Event,
    "Drop": Drop,
}


@cache
def arrow_type(name: str) -> pa.DataType:
    """Arrow type by a short name: string, double, int64, uint64, bool, binary, list<T>, map<T> (string keys).

    binary<N> is a fixed number of bytes: a row of numbers, see `pack`.
    """
    import pyarrow as pa

    if name.startswith("list<"):
        return pa.list_(arrow_type(name[5:-1]))
    if name.startswith("binary<"):
        return pa.binary(int(name[7:-1]))
    if name.startswith("map<"):
        return pa.map_(pa.string(), arrow_type(name[4:-1]))
    simple = {
        "string": pa.string(),
        "double": pa.float64(),
        "float": pa.float32(),
        "int64": pa.int64(),
        "uint64": pa.uint64(),
        "int32": pa.int32(),
        "bool": pa.bool_(),
        "binary": pa.binary(),
    }
    if name not in simple:
        raise ContractError(
            f"arrow type {name!r} is not known; use one of {sorted(simple)}, list<T> or map<T>"
        )
    return simple[name]


def schema_of(columns: Mapping[str, str]) -> pa.Schema:
    """Arrow schema from column -> short type name (as in `Map.rows`)."""
    import pyarrow as pa

    return pa.schema([(name, arrow_type(kind)) for name, kind in columns.items()])


def pack(rows: npt.NDArray[Any]) -> pa.Array:
    """An array of numbers [rows, columns] as one column of fixed-size binary."""
    import numpy as np
    import pyarrow as pa

    width = rows.shape[1] * rows.dtype.itemsize
    data = pa.py_buffer(np.ascontiguousarray(rows))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(rows), [None, data])


def unpack(column: pa.ChunkedArray, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """What `pack` packed; [rows, columns], read-only."""
    import numpy as np

    array, width = column.combine_chunks(), column.type.byte_width
    data = np.frombuffer(array.buffers()[1] or b"", dtype=np.uint8)[array.offset * width :][
        : len(array) * width
    ]
    return data.view(dtype).reshape(len(array), width // np.dtype(dtype).itemsize)


def compression(schema: pa.Schema, level: int) -> dict[str, Any]:
    """Settings for `pyarrow.parquet.write_table`: zstd at `level`, but not for hashes, which it cannot make smaller."""
    import pyarrow as pa

    hashes = [field.name for field in schema if pa.types.is_fixed_size_binary(field.type)]
    if not hashes:
        return {"compression": "zstd", "compression_level": level}
    # Columns are told apart by their names alone, so a table with `pack`ed ones has none that are nested.
    others = [name for name in schema.names if name not in hashes]
    packing = dict.fromkeys(others, "zstd") | dict.fromkeys(hashes, "none")
    return {"compression": packing, "compression_level": dict.fromkeys(others, level)}


def with_scores(table: pa.Table, **scores: npt.NDArray[np.float64]) -> pa.Table:
    """A table of records with further `scores`, or others in their place; one value a record."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    old, count = table.column("scores").combine_chunks(), len(table)
    offsets = old.offsets.to_numpy()
    names, values = (part[offsets[0] : offsets[-1]] for part in (old.keys, old.items))
    stay = pc.invert(pc.is_in(names, value_set=pa.array(list(scores))))
    names = pa.concat_arrays(
        [names.filter(stay), *(pa.array([name] * count, pa.string()) for name in scores)]
    )
    values = pa.concat_arrays(
        [values.filter(stay), *(pa.array(one, pa.float64()) for one in scores.values())]
    )
    owners = np.repeat(np.arange(count), np.diff(offsets))[stay.to_numpy(zero_copy_only=False)]
    owners = np.concatenate((owners, *(np.arange(count) for _ in scores)))
    # In the order of `to_table`: by record, then by name.
    coded = names.dictionary_encode()
    ranks = pc.rank(coded.dictionary).to_numpy()[coded.indices.to_numpy()]
    order = np.lexsort((ranks, owners))
    starts = np.concatenate(([0], np.cumsum(np.bincount(owners, minlength=count)))).astype(np.int32)
    field = record_schema().field("scores")
    made = pa.MapArray.from_arrays(starts, names.take(order), values.take(order)).cast(field.type)
    return table.set_column(table.schema.get_field_index("scores"), field, made)


def with_drops(table: pa.Table, stage: str, drops: Mapping[int, tuple[str, str]]) -> pa.Table:
    """A table of records of which those at the given rows end here, with their (reason, evidence)."""
    import numpy as np
    import pyarrow as pa

    field = record_schema().field("dropped")
    stay = np.ones(len(table), dtype=bool)
    stay[list(drops)] = False
    places = np.zeros(len(table), dtype=np.int64)
    places[~stay] = np.arange(len(drops)) + 1
    found = [
        None,
        *(
            {"stage": stage, "reason": reason, "evidence": evidence}
            for _, (reason, evidence) in sorted(drops.items())
        ),
    ]
    made = pa.array(found, field.type).take(pa.array(places))
    return table.set_column(table.schema.get_field_index("dropped"), field, made)


def _field_type(annotation: str) -> pa.DataType:
    import pyarrow as pa

    text = annotation.removesuffix(" | None")
    if text.startswith("list[") and text[5:-1] in _STRUCTS:
        return pa.list_(_struct_type(_STRUCTS[text[5:-1]]))
    if text in _STRUCTS:
        return _struct_type(_STRUCTS[text])
    if text.startswith("Literal") or text in ("Kind", "Level"):
        return pa.string()
    return arrow_type(_TYPES[text])


def _struct_type(struct: type[msgspec.Struct]) -> pa.DataType:
    import pyarrow as pa

    return pa.struct([(name, _field_type(str(kind))) for name, kind in struct.__annotations__.items()])


@cache
def record_schema() -> pa.Schema:
    """Schema of kept and dropped tables, read off `Record`'s annotations."""
    import pyarrow as pa

    fields = [(name, _field_type(str(kind))) for name, kind in Record.__annotations__.items()]
    return pa.schema(fields, metadata={"boostqa.schema": str(SCHEMA_VERSION)})


def _plain(value: Any) -> Any:
    """Structs to dicts with every field present (Arrow wants typed nulls and no missing keys)."""
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, list) and value and isinstance(value[0], msgspec.Struct):
        return [_plain(item) for item in value]
    return value


def to_table(records: Iterable[Record]) -> pa.Table:
    """Records as one table of `record_schema()`; scores are sorted by name so that equal records give equal bytes."""
    import pyarrow as pa

    return pa.Table.from_pylist([_plain(record) for record in records], schema=record_schema())


def unrevoked(table: pa.Table, revoked: Collection[str]) -> pa.Table:
    """The rows of a table with columns `id` and `parents` that are not, and do not come from, what was taken down."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not revoked:
        return table
    gone = pa.array(sorted(revoked), pa.string())
    parents = table.column("parents").combine_chunks()
    rows = pc.list_parent_indices(parents).filter(pc.is_in(pc.list_flatten(parents), value_set=gone))
    descends = pc.is_in(pa.array(range(table.num_rows), rows.type), value_set=rows)
    return table.filter(
        pc.invert(pc.or_(descends, pc.is_in(table.column("id").combine_chunks(), value_set=gone)))
    )


def tally(table: pa.Table, *names: str) -> dict[tuple[Any, ...], int]:
    """How many rows have each combination of values of columns, or of fields of structs (`labels.level`)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def values(name: str) -> pa.ChunkedArray:
        column, *path = name.split(".")
        return pc.struct_field(table.column(column), path) if path else table.column(column)

    keys = [f"key{i}" for i in range(len(names))]
    flat = pa.table(dict(zip(keys, map(values, names), strict=True)))
    counted = flat.group_by(keys).aggregate([([], "count_all")])
    found = zip(*(counted.column(key).to_pylist() for key in keys), strict=True)
    return dict(zip(found, counted.column("count_all").to_pylist(), strict=True))


def from_table(table: pa.Table) -> list[Record]:
    """Records of a table with all columns of `record_schema()`."""
    rows = [
        {name: value for name, value in row.items() if value is not None}
        for row in table.to_pylist(maps_as_pydicts="strict")
    ]
    # msgspec builds what it knows of a type at first use, and crashes when two threads do so at once.
    with _CONVERT:
        return msgspec.convert(rows, list[Record])
