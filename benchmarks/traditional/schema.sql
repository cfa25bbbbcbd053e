-- The database of the traditional design. An order is one call of one function in one transaction: it is decided, paid,
-- taken from stock and written, or nothing of it is.
--
-- The rules that keep it right and quick:
-- - What is taken is taken by a conditional UPDATE, which locks the row and looks at it in one step; the CHECKs below
--   would refuse the transaction if that were ever wrong.
-- - Locks are always taken in the same order, accounts before products and both by id, so that no two transactions wait
--   for each other.
-- - The lock of a product, which may be a hot one, is taken last. What is sold out is declined without any lock.
-- - Ids are compared byte by byte (the database has the locale C), as the application sorts them.

-- Half of each page stays free: a new version of a row then fits beside the old one, and no index is written (HOT).
CREATE TABLE account (
    customer_id text PRIMARY KEY,
    balance numeric(14, 2) NOT NULL CHECK (balance >= 0),
    settled numeric(20, 2) NOT NULL CHECK (settled >= 0),
    version bigint NOT NULL,
    update_time timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE stock (
    product_id text PRIMARY KEY,
    balance bigint NOT NULL CHECK (balance >= 0),
    settled bigint NOT NULL CHECK (settled >= 0),
    price numeric(11, 2) CHECK (price >= 0), -- null: it is sold at whatever price an order names
    version bigint NOT NULL,
    update_time timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Written once and never changed: an order is decided by the time that it is written.
CREATE TABLE customer_order (
    order_id uuid PRIMARY KEY,
    customer_id text NOT NULL,
    items jsonb NOT NULL, -- always read and written with their order
    total_amount numeric(11, 2) NOT NULL CHECK (total_amount >= 0),
    status text NOT NULL CHECK (status IN ('SHIPPED', 'REJECTED')),
    declined jsonb, -- by check: why it is REJECTED, with the figures
    correlation_id text NOT NULL,
    callback_url text NOT NULL,
    fingerprint text, -- of the request, if it had an Idempotency-Key, which order_id is then made of
    create_time timestamptz NOT NULL,
    CHECK ((status = 'REJECTED') = (declined IS NOT NULL))
);

-- All other requests with an Idempotency-Key.
CREATE TABLE keyed_request (
    request_id uuid PRIMARY KEY,
    fingerprint text NOT NULL,
    answer jsonb -- of a batch none: its orders are the answer
);

-- Let one request with this key in at a time. It ends with its transaction, however that ends.
CREATE FUNCTION enter(_request_id uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended(_request_id::text, 0)) THEN
        RAISE SQLSTATE 'OC409' USING MESSAGE = 'the first request with this key is still running';
    END IF;
END $$;

-- What an order takes of each product, in the order in which they are locked.
CREATE FUNCTION lines(_order jsonb) RETURNS TABLE (product_id text, units bigint, unit_price numeric) LANGUAGE sql IMMUTABLE AS $$
    SELECT * FROM jsonb_to_recordset(_order -> 'lines') AS (product_id text, units bigint, unit_price numeric)
    ORDER BY product_id
$$;

-- Place one order: the columns of customer_order that its request says, and "lines", what it takes of each product.
-- The status is null if there is an order with this id already, which then stays as it is.
CREATE FUNCTION place_order(_order jsonb, OUT status text, OUT declined jsonb) LANGUAGE plpgsql AS $$
DECLARE
    placed customer_order := jsonb_populate_record(NULL::customer_order, _order);
    account_balance numeric;
    line record;
    product stock;
    decline jsonb;
BEGIN
    IF placed.fingerprint IS NOT NULL THEN
        PERFORM enter(placed.order_id);
        PERFORM FROM customer_order WHERE order_id = placed.order_id;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    LOOP
        -- Each statement sees what was committed before it. First without locks: nobody waits to be declined.
        declined := '{}';
        SELECT balance INTO account_balance FROM account WHERE customer_id = placed.customer_id;
        IF NOT FOUND OR account_balance < placed.total_amount THEN
            declined := jsonb_build_object('balance', jsonb_build_object(
                'outcome', 'DECLINED',
                'code', CASE WHEN FOUND THEN 'INSUFFICIENT_BALANCE' ELSE 'UNKNOWN_CUSTOMER' END,
                'id', placed.customer_id, 'asked', placed.total_amount, 'available', account_balance));
        END IF;
        decline := NULL;
        FOR line IN SELECT * FROM lines(_order) LOOP
            SELECT * INTO product FROM stock WHERE product_id = line.product_id;
            IF product.price <> line.unit_price OR (product.price IS NOT NULL AND line.unit_price IS NULL) THEN
                decline := jsonb_build_object(
                    'outcome', 'DECLINED', 'code', 'PRICE_MISMATCH', 'id', line.product_id,
                    'asked', line.units, 'price', product.price, 'unitPrice', line.unit_price);
                EXIT; -- a wrong price comes before a short product
            ELSIF decline IS NULL AND (NOT FOUND OR product.balance < line.units) THEN
                decline := jsonb_build_object(
                    'outcome', 'DECLINED',
                    'code', CASE WHEN FOUND THEN 'INSUFFICIENT_STOCK' ELSE 'UNKNOWN_PRODUCT' END,
                    'id', line.product_id, 'asked', line.units, 'available', product.balance);
            END IF;
        END LOOP;
        IF decline IS NOT NULL THEN
            declined := declined || jsonb_build_object('stock', decline);
        END IF;

        status := CASE WHEN declined = '{}' THEN 'SHIPPED' ELSE 'REJECTED' END;
        declined := nullif(declined, '{}');
        BEGIN -- a savepoint: all that follows, or nothing
            INSERT INTO customer_order VALUES (
                placed.order_id, placed.customer_id, placed.items, placed.total_amount, status, declined,
                placed.correlation_id, placed.callback_url, placed.fingerprint, placed.create_time);
            IF status = 'SHIPPED' THEN
                UPDATE account
                SET balance = balance - placed.total_amount, settled = settled + placed.total_amount,
                    version = version + 1, update_time = placed.create_time
                WHERE customer_id = placed.customer_id AND balance >= placed.total_amount;
                IF NOT FOUND THEN
                    RAISE SQLSTATE 'OC001' USING MESSAGE = 'another order was quicker';
                END IF;
                FOR line IN SELECT * FROM lines(_order) LOOP
                    UPDATE stock
                    SET balance = balance - line.units, settled = settled + line.units,
                        version = version + 1, update_time = placed.create_time
                    WHERE product_id = line.product_id AND balance >= line.units
                        AND (price IS NULL OR price = line.unit_price);
                    IF NOT FOUND THEN
                        RAISE SQLSTATE 'OC001' USING MESSAGE = 'another order was quicker';
                    END IF;
                END LOOP;
            END IF;
            RETURN;
        EXCEPTION WHEN SQLSTATE 'OC001' THEN
            NULL; -- decide again, by the figures of now
        END;
    END LOOP;
END $$;

-- Place the orders of a batch, first come first served, in one transaction. All that they may take is locked first:
-- one after the other they would lock products in any order.
CREATE FUNCTION place_orders(_orders jsonb) RETURNS TABLE (status text, declined jsonb) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM account
    WHERE customer_id IN (SELECT _order ->> 'customer_id' FROM jsonb_array_elements(_orders) AS _order)
    ORDER BY customer_id FOR NO KEY UPDATE;
    PERFORM FROM stock
    WHERE product_id IN (SELECT line.product_id FROM jsonb_array_elements(_orders) AS _order, lines(_order) AS line)
    ORDER BY product_id FOR NO KEY UPDATE;
    RETURN QUERY
    SELECT placed.* FROM jsonb_array_elements(_orders) WITH ORDINALITY AS batch(_order, place), place_order(_order) AS placed
    ORDER BY place;
END $$;
