"""The rules that a geometry file, a border and a zone grid are judged by: each has a name and one sentence.

A refusal names the feature and the rule and never repeats a value of the file. `docs/zones.md` holds the same table.
"""

from enum import StrEnum


class Rule(StrEnum):
    """A rule; its value is the sentence, its label the name that a refusal gives."""

    @property
    def label(self) -> str:
        """The name as people write it.

        >>> GridRule.NO_OVERLAP.label
        'no-overlap'
        """
        return self.name.lower().replace("_", "-")


class FileRule(Rule):
    """What holds of every geometry file, whatever it describes; a zone grid in GeoJSON has stricter rules of its own."""

    THERE = "the file exists"
    FILE_SIZE = "a geometry file holds at most 64 MiB, packed or not"
    FILE_FEATURES = "a geometry file has 1 to 10,000 features"
    FILE_VERTICES = "a geometry file has at most 1,000,000 vertices"
    CRS_STATED = "a geometry file states its coordinate system (CRS)"
    CRS_KNOWN = "the coordinate system (CRS) is one that is known"
    EVERY_GEOMETRY = "every feature has a geometry"
    ONE_LAYER = "a geometry file has one layer"
    WHOLE = "a geometry file is whole and of the format that its name says"
    GEOPARQUET = "a Parquet file of geometries is GeoParquet, encoded as WKB"
    GEOJSON_SIZE = "a GeoJSON file holds at most 32 MiB"
    ONE_DOCUMENT = "a GeoJSON file is one JSON document in UTF-8"
    GEOJSON = "a file of another ending is GeoJSON"
    WGS84 = "GeoJSON is longitude and latitude on WGS84"
    TO_DEGREES = "every position can be told in longitude and latitude"


class GridRule(Rule):
    """What holds of a zone grid (design.md, section 4.3), in the order in which it is asked."""

    GRID_SIZE = "a grid file holds at most 16 MiB"
    ONE_DOCUMENT = "a grid file is one JSON document in UTF-8"
    FINITE = "a coordinate is a finite number"
    MEMBER_ONCE = "a JSON object names each member once"
    COLLECTION = "a zone grid is a GeoJSON FeatureCollection"
    WGS84 = "GeoJSON is longitude and latitude on WGS84"
    NO_OTHER_MEMBER = "a grid, a feature and a geometry have the members that the contract names, and no other"
    ZONE_COUNT = "a zone grid has 1 to 2,000 features"
    TURN_STATED = "turn_hour_utc is in the document or given"
    TURN_HOUR = "turn_hour_utc is a whole hour, 0 to 23"
    TURN_AGREES = "turn_hour_utc is the same in the document and in the settings"
    START_STATED = "valid_from is in the document or given"
    START_TIME = "valid_from is an RFC 3339 time with an offset"
    START_AGREES = "valid_from is the same in the document and in the settings"
    START_AT_TURN = "valid_from is the turn of a token-day"
    ATTRIBUTION = "attribution is text of 1 to 1,000 characters"
    DIGIT_RUN = "no text holds 14 digits in a row: that could be a subscriber or a handset"
    FEATURES_ONLY = "a grid holds features only"
    POLYGON = "a zone is a Polygon or a MultiPolygon"
    PART_LIST = "a MultiPolygon is a list of polygons"
    RING_LIST = "a polygon is a list of rings"
    POSITION_LIST = "a ring is a list of positions"
    ZONE_VERTICES = "a zone has at most 5,000 vertices"
    GRID_VERTICES = "a zone grid has at most 200,000 vertices"
    RING_LENGTH = "a ring has at least four positions"
    POSITION = "a position is longitude and latitude, without height"
    IN_RANGE = "longitude comes first, within 180, then latitude, within 90"
    RING_CLOSED = "a ring ends where it starts"
    PROPERTIES = "a zone has zone_id, sector_id, kind and name"
    ZONE_ID = "zone_id matches ^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
    SECTOR_ID = "sector_id matches ^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
    NAME = "name is printable text of 1 to 200 characters"
    KIND = "kind is belt or crossing_point"
    NO_OTHER_PROPERTY = (
        "a zone says zone_id, sector_id, kind, name, source, licence, confidence, border_km and crossing_points at most"
    )
    ORIGIN = (
        "source and licence are printable text of at most 500 characters, confidence is A, B or C, border_km a number"
    )
    CROSSING_POINTS = "crossing_points lists at most 100 crossing points by their known fields"
    ZONE_ID_ONCE = "a zone_id is used once"
    GRID_ID = "grid_id is the digest of the content"
    JSON_VALUES = "a grid document holds JSON values only, and no NaN"
    VALID = "a zone is simple and valid"
    NEAR_THE_LINE = "a zone lies within 50 km of the border line"
    AREA = "a zone has at most 2,500 km2"
    WIDTH = "a zone is at least 500 m wide somewhere"
    PARTS_TOGETHER = "the parts of a zone lie within 50 km of each other"
    NO_OVERLAP = "zones do not overlap; their edges may touch"
    ONE_SIDE = "all zones lie on one side of the border line"
    HOME_SIDE = "a zone lies on the home side of the border line"
    HOME_COUNTRY = "zones lie on the side of the country that the grid calls home"
    BELT_BORDER = "a belt has at least 10 km of border"
    CROSSING_POINT_BORDER = "a crossing point has at least 2 km of border"
    SAME_TURN = "two versions of a grid turn the token-day at the same hour"
    LATER = "the later version of a grid is valid from a later token-day"


class BorderRule(Rule):
    """What holds of a border line, and of what zones are built from beside it."""

    BORDER = "a border is one of the bundled ids or the path of a geometry file"
    ONE_OR_TWO = "a border file holds one line, or the polygons of two countries"
    ONE_FEATURE = "a border file holds one feature"
    PROPERTIES = "properties are a JSON object"
    NAMES = "id, a and b match ^[A-Za-z0-9][A-Za-z0-9._-]{0,23}$, and a is not b"
    LINE = "a border is a LineString or a MultiLineString"
    LINE_LIST = "a border has at least one line"
    POSITION = "a position is longitude and latitude, without height"
    LINE_LENGTH = "a line is two or more positions of longitude and latitude, without height"
    FINITE = "a coordinate is a finite number"
    IN_RANGE = "longitude comes first, within 180, then latitude, within 90"
    VERTICES = "a border has at most 500,000 vertices"
    PIECES = "a border has at most 500 pieces"
    HAS_LENGTH = "a border has a length"
    EXTENT = "a border is at most 6,000 km across"
    NOT_ENTANGLED = "a border line does not cross itself over and over"
    ONE_WAY = "the pieces of a border are drawn one way, with country a on the left"
    TWO_COUNTRIES = "a border file of two features holds the polygons of two countries"
    CLOSED_RINGS = "a country is a polygon of closed rings"
    VALID_COUNTRY = "a country is a simple and valid polygon"
    SHARED_EDGE = "the polygons of two countries share an edge of at least 1.5 km"
    HOME = "home is one of the two countries of the border"
    DEPTH = "a belt is 1 to 50 km deep"
    LENGTH = "a belt is 10 to 200 km long"
    APPROACH = "an approach road counts for 0 to 30 km"
    HOME_GROUND = "there is home ground beside the line"
    POLYGONS = "a file of sectors holds polygons"
    VALID_SECTOR = "a sector is a simple and valid polygon"
    SECTOR_FIELD = "every sector has the field that names it, as printable text of 1 to 200 characters"
    SECTOR_ID = "the name of a sector makes an id of ASCII letters and digits that no other name makes"
    SECTORS_APART = "the sectors of a file do not overlap"
    IN_A_SECTOR = "at least half of every zone lies in the sectors of the file"
    ROADS = "a file of roads holds lines"
    CROSSING_POINT_COLUMNS = (
        "a file of crossing points is CSV in UTF-8 with id, name, lon, lat and uncertainty_m, and known columns only"
    )
    CROSSING_POINT = (
        "a crossing point has an id, a name, a position within range, 0 to 20,000 m of uncertainty and grade A, B or C"
    )
    CROSSING_POINT_ONCE = "the id of a crossing point is used once"
    CROSSING_POINT_NEAR = "a crossing point lies within 10 km of the border line"
